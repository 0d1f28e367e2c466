"""Two ways to the locked jars: the machine's own `mvn`, or PyPI's `maven-artifact` where only pip is at hand.

Neither is trusted (the caller verifies SHA-256), and no address is written here: `mvn` knows its mirrors from
the machine's settings, `maven-artifact` has its own default, which ENGINE_MAVEN_REPOSITORY overrides.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.sax.saxutils import escape

from ops.kafka.errors import JarsUnavailable
from ops.kafka.locking import Say

REPOSITORY_VARIABLE = "ENGINE_MAVEN_REPOSITORY"
MVN_SECONDS_MAX = 600
REQUEST_SECONDS_MAX = 60
ATTEMPTS_MAX = 4
DOWNLOADS_AT_ONCE = 8
CHUNK_BYTES = 1 << 16
PROGRESS_EVERY = 10
MVN_OUTPUT_CHARACTERS_SHOWN = 1500


class Coordinate(Protocol):
    """What a source must know of a jar."""

    @property
    def group(self) -> str:
        """As Maven has it."""

    @property
    def artifact(self) -> str:
        """As Maven has it."""

    @property
    def version(self) -> str:
        """As Maven has it."""

    @property
    def file_name(self) -> str:
        """Under which the source must leave it."""


class SourceFailed(Exception):
    """A source cannot deliver; the next one may."""


@dataclass(frozen=True)
class Source:
    """`deliver` puts every jar into the directory or raises SourceFailed with the reason."""

    name: str
    deliver: Callable[[Sequence[Coordinate], Path, Say], None]


def from_first_source(
    jars: Sequence[Coordinate], directory: Path, say: Say, sources: Sequence[Source]
) -> str:
    """The name of the first source that delivered them all."""
    reasons = []
    for source in sources:
        started = time.monotonic()
        try:
            source.deliver(jars, directory, say)
        except SourceFailed as failure:
            reasons.append(f"{source.name}: {failure}")
        else:
            say(f"fetched with {source.name} in {time.monotonic() - started:.0f} s")
            return source.name
    raise JarsUnavailable(
        "the jars of Apache Kafka could not be fetched; install Maven, or `pip install maven-artifact` "
        f"(group `kafka` of pyproject.toml), and see that its repository can be reached. {'; '.join(reasons)}"
    )


def _deliver_with_mvn(jars: Sequence[Coordinate], directory: Path, say: Say) -> None:
    """One pom for all jars, each without its dependencies: the lock is the whole tree already."""
    mvn = shutil.which("mvn")
    if mvn is None:
        raise SourceFailed("not on PATH")
    say(f"fetching {len(jars)} jars of Apache Kafka with {mvn} (once per machine, 44 MB in all)")
    pom = directory / "pom.xml"
    pom.write_text(pom_of(jars), encoding="utf-8")
    command = [mvn, "--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies"]
    command += ["-DexcludeTransitive=true", f"-DoutputDirectory={directory}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MVN_SECONDS_MAX, check=False, cwd=directory
        )
    except (OSError, subprocess.TimeoutExpired) as reason:
        raise SourceFailed(str(reason)) from reason
    absent = [jar.file_name for jar in jars if not (directory / jar.file_name).is_file()]
    if done.returncode != 0 or absent:
        output = (done.stdout + done.stderr).strip()[-MVN_OUTPUT_CHARACTERS_SHOWN:]
        raise SourceFailed(f"status {done.returncode}, absent: {', '.join(absent) or 'none'}. {output}")


def pom_of(jars: Sequence[Coordinate]) -> str:
    """A project that depends on nothing but these."""
    dependencies = "".join(
        f"<dependency><groupId>{escape(jar.group)}</groupId><artifactId>{escape(jar.artifact)}</artifactId>"
        f"<version>{escape(jar.version)}</version></dependency>\n"
        for jar in jars
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>engine</groupId><artifactId>kafka-jars</artifactId><version>1</version>\n"
        f"<dependencies>\n{dependencies}</dependencies></project>\n"
    )


def _deliver_with_maven_artifact(
    jars: Sequence[Coordinate], directory: Path, say: Say
) -> None:  # tidy: each level guards one resource
    try:
        from maven_artifact import Artifact, Downloader  # noqa: PLC0415 - may be absent
    except ImportError as reason:
        raise SourceFailed("not installed") from reason
    say(f"fetching {len(jars)} jars of Apache Kafka with maven-artifact (once per machine, 44 MB in all)")
    configured = os.environ.get(REPOSITORY_VARIABLE)
    downloader = Downloader(base=configured) if configured else Downloader()

    def download(jar: Coordinate) -> None:
        url = Artifact(jar.group, jar.artifact, jar.version).uri(downloader.resolver.base)
        _download(downloader.requestor.request, url, directory / jar.file_name)

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="jar") as pool:
        futures = [pool.submit(download, jar) for jar in jars]
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                future.result()
                if count % PROGRESS_EVERY == 0 or count == len(jars):
                    say(f"  {count} of {len(jars)} jars")
        except SourceFailed:
            pool.shutdown(cancel_futures=True)
            raise


def _download(
    request: Callable[..., Any], url: str, target: Path
) -> None:  # tidy: each level guards one resource
    """Not by `Downloader.download`: that knows no timeout, prints, and proves nothing on a fresh file."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            with (
                request(url, None, timeout=REQUEST_SECONDS_MAX, stream=True) as response,
                target.open("wb") as out,
            ):
                for chunk in response.iter_content(chunk_size=CHUNK_BYTES):
                    out.write(chunk)
        except OSError as reason:  # every exception of `requests` is one
            if attempt == ATTEMPTS_MAX:
                raise SourceFailed(f"{target.name}: {reason}") from reason
            time.sleep(attempt)
        else:
            return


SOURCES = (
    Source("mvn", _deliver_with_mvn),
    Source("maven-artifact", _deliver_with_maven_artifact),
)
