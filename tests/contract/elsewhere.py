"""Runs a script in another process, from the repository's root."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def start_elsewhere(script: str) -> "subprocess.Popen[str]":
    """Starts it; its input and outputs are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_elsewhere(script: str) -> str:
    """Runs it to its end, which must be a good one; returns what it printed."""
    with start_elsewhere(script) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return out
