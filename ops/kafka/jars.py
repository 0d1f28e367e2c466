"""The jars a broker runs on: `jars.lock` says which, a cache directory holds them, SHA-256 proves them.

The cache is only a cache: any file of it may be deleted or damaged by anyone at any time, so every use
verifies every jar (0.1 s for 44 MB) and fetches again what is not as locked.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.kafka import fetch
from ops.kafka.errors import ChecksumMismatch, JarsUnavailable
from ops.kafka.locking import Say, exclusive, say_on_stderr

KAFKA_VERSION = "4.3.1"
LOCK_FILE = Path(__file__).with_name("jars.lock")
DIRECTORY_VARIABLE = "ENGINE_KAFKA_JARS"


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """As Maven and its users write it."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """As both sources name it."""
        return f"{self.artifact}-{self.version}.jar"


def locked_jars(lock_file: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """The lock's jars in its order, which is the class path's order too."""
    lines = lock_file.read_text(encoding="utf-8").splitlines()
    return tuple(_jar_of(line) for line in lines if not line.startswith("#"))


def _jar_of(line: str) -> Jar:
    coordinate, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256)


def cache_directory() -> Path:
    """Where the jars are kept: shared by all checkouts, since the lock's hashes tell right from wrong."""
    configured = os.environ.get(DIRECTORY_VARIABLE)
    if configured:
        return Path(configured).expanduser().absolute()
    return Path.home() / ".cache" / "kafka-workflow-engine" / f"kafka-{KAFKA_VERSION}"


def ensure_jars(  # tidy: each level guards one resource
    directory: Path | None = None,
    say: Say = say_on_stderr,
    sources: Iterable[fetch.Source] | None = None,
    jars: tuple[Jar, ...] | None = None,
) -> tuple[Path, ...]:
    """Verified jars in class path order. Fetches what is missing or damaged; safe to run twice at once."""
    directory = directory or cache_directory()
    jars = jars or locked_jars()
    try:
        if _unverified(jars, directory):
            with exclusive(directory / ".lock", say):
                # Asked again under the lock: whoever held it before may have fetched them all.
                missing = _unverified(jars, directory)
                if missing:
                    _fetch(missing, directory, say, fetch.SOURCES if sources is None else tuple(sources))
    except OSError as reason:
        raise JarsUnavailable(
            f"the jars of Apache Kafka cannot be kept in {directory} ({reason}): make room or set "
            f"{DIRECTORY_VARIABLE} to a directory that can be written."
        ) from reason
    return tuple(directory / jar.file_name for jar in jars)


def sha256_of(path: Path) -> str:
    """In hexadecimal, as the lock has it."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _unverified(jars: tuple[Jar, ...], directory: Path) -> tuple[Jar, ...]:
    return tuple(jar for jar in jars if not _is_verified(jar, directory / jar.file_name))


def _is_verified(jar: Jar, path: Path) -> bool:
    return path.is_file() and sha256_of(path) == jar.sha256


def _fetch(jars: tuple[Jar, ...], directory: Path, say: Say, sources: tuple[fetch.Source, ...]) -> None:
    """By way of a directory on the same file system: a jar appears in the cache whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=directory) as staging:
        source = fetch.from_first_source(jars, Path(staging), say, sources)
        for jar in jars:
            actual = sha256_of(Path(staging) / jar.file_name)
            if actual != jar.sha256:
                raise ChecksumMismatch(jar.coordinate, jar.sha256, actual, source)
        for jar in jars:
            (Path(staging) / jar.file_name).replace(directory / jar.file_name)
    say(f"{len(jars)} jars verified in {directory}")
