"""Prometheus's own programs. A test that needs one and cannot have it fails: it must not fall silent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REMEDY = "install Debian's package prometheus (.ci/run does), or put promtool and prometheus on the PATH"


def tool(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"expected the program {name!r}, but there is none: {REMEDY}", pytrace=False)
    return found


def run_tool(
    name: str, *words: str, text: str | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs one to its end."""
    return subprocess.run(
        [tool(name), *words], input=text, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
