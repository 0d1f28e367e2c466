"""Processes that outlive the call that started them: found again by pid file, ended with certainty.

A pid alone is never signalled: pids are used again, so the process must still have the command line it had.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

POLL_SECONDS = 0.05
# Ends the broker when the pipe to us closes, which the kernel does even if we are killed.
LEASH_SCRIPT = 'read -r _; kill -KILL "$1"'


def running_pid(pid_file: Path, marker: str) -> int | None:
    """The pid in the file, if that process runs and `marker` is part of its command line."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return pid if marker in _command_line(pid) else None


def _command_line(pid: int) -> str:
    """Empty for who is gone, and for a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    command = ["ps", "-p", str(pid), "-o", "command="]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def signal_process(pid: int, number: signal.Signals) -> None:
    """As `os.kill`, and no error if it has just ended by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_ended(pid_file: Path, marker: str, seconds_max: float) -> bool:
    """For a process that is not our child: there is nothing to wait on, only to look from time to time."""
    deadline = time.monotonic() + seconds_max
    while running_pid(pid_file, marker) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


class Leash:
    """Lets a process not survive us. Tests that are killed would otherwise leave 300 MB brokers behind."""

    def __init__(self, pid: int) -> None:
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", LEASH_SCRIPT, "leash", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def drop(self) -> None:
        """Killed first and closed after: the other way round it would take the closing for our death."""
        self._watcher.kill()
        self._watcher.wait()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
