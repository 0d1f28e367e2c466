"""Worker processes that can be killed, frozen and started again, and what they have logged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ops.kafka.process import Leash
from tests.integration.harness import COMMAND_LINE, REPOSITORY

APP = "tests.chaos.app:app"
_OWNED = re.compile(r"partition (\d+) restored")
_GONE = re.compile(r"partition (\d+) (?:released|lost|was not closed)")


class Worker:
    """One state directory, with one process at a time: a worker, or a supervisor of several."""

    def __init__(self, name: str, directory: Path, options: Sequence[str], processes: int = 1) -> None:
        self.name = name
        self.processes = processes
        self.state = directory / "state" / name
        self.log = directory / "logs" / f"worker-{name}.log"
        self.is_frozen = False
        self.lives = 0
        self._command = [
            *COMMAND_LINE,
            "worker",
            *options,
            f"--state-dir={self.state}",
            f"--processes={processes}",
            APP,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None
        self._born_at = 0
        self.log.parent.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        assert self.pid is None, f"worker {self.name} runs already"
        self._born_at = self.log.stat().st_size if self.log.exists() else 0
        self.lives += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            )
        # Were we killed, it would go on for ever.
        self._leash = Leash(self._process.pid)

    def kill(self, child: int | None = None) -> None:
        """SIGKILL to it, which ends its children too; or to one child, and its supervisor starts another."""
        assert self._process is not None
        if child is not None:
            os.kill(child, signal.SIGKILL)
            return
        self._process.kill()
        self._forget()

    def children(self) -> list[int]:
        """The processes that own partitions: those of a supervisor, or itself."""
        if self.processes == 1 or self.pid is None:
            return [] if self.pid is None else [self.pid]
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    def freeze(self) -> None:
        """SIGSTOP to it and all its children: a zombie, once others have taken over."""
        self.is_frozen = True
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal_all(signal.SIGCONT)
        self.is_frozen = False

    def ask_to_stop(self) -> None:
        """SIGTERM. Does not wait."""
        if self._process is not None:
            self._process.terminate()

    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """Of a process that has ended and was not forgotten yet."""
        return None if self._process is None else self._process.poll()

    def close(self) -> None:
        """Ends it if it has not ended, and forgets it."""
        if self._process is not None:
            self.kill()

    def is_ready(self) -> bool:
        """Whether each of its processes has said so in this life."""
        count = sum("worker ready" in record["message"] for record in self.records(self._born_at))
        return count >= self.processes

    def records(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """What it has logged in all its lives, or from a place in the file on."""
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(start)
            for line in log:
                # Of a process that was killed, the last line may be half a one.
                if line.startswith(b"{") and line.endswith(b"}\n"):
                    yield json.loads(line)

    def owned_by(self, pid: int, moment: float) -> set[int]:
        """The partitions that a process of this worker owned then."""
        owned: set[int] = set()
        for record in self.records():
            if record["process"] != pid or time_of(record) > moment:
                continue
            if (taken := _OWNED.match(record["message"])) is not None:
                owned.add(int(taken[1]))
            elif (gone := _GONE.match(record["message"])) is not None:
                owned.discard(int(gone[1]))
        return owned

    def copy_state(self, to: Path) -> None:
        """Of a worker that does not run."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.state, to)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in {self.pid, *self.children()} - {None}:
            os.kill(pid or 0, number)

    def _forget(self) -> None:
        assert self._process is not None
        self._process.wait()
        if self._leash is not None:
            self._leash.drop()
        self._process = self._leash = None
        self.is_frozen = False


def time_of(record: dict[str, Any]) -> float:
    """When it was logged, as time.time() tells it."""
    return datetime.fromisoformat(record["time"]).timestamp()


def taken_over_at(record: dict[str, Any]) -> tuple[int, float] | None:
    """(partition, when) of the record of a takeover; None for others."""
    found = _OWNED.match(record["message"])
    return None if found is None else (int(found[1]), time_of(record))
