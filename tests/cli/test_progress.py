"""How far what takes long has come: in lines, as a bar, and where the numbers come from."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path
from typing import Self

import pytest

from engine.cli import progress
from engine.cli.beginning import Stage, restore_of, showing
from engine.embedded import EmbeddedCommandSource, EmbeddedLog
from engine.node.worker import Worker, WorkerPorts, WorkerSettings
from engine.store.memory import MemoryStore
from tests.client.running import PARTITIONS, READY_S, app, on_a_directory


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_in_a_pipe_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    lines: list[str] = []
    with progress.meter("restoring", lines.append) as show:
        for second in range(12):
            clock.now = second
            show(second * 1_000, 12_000)
    assert lines == ["restoring: 5,000 of 12,000", "restoring: 10,000 of 12,000"]


def test_on_a_terminal_a_bar_is_shown_and_taken_away(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.meter("terminate instances", lambda line: pytest.fail(line)) as show:
        show(3, 12)
    assert "terminate instances" in terminal.getvalue()
    assert "12" in terminal.getvalue()


def test_stages_are_shown_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    shown: list[str] = []
    over = threading.Event()

    class Meter:
        def __init__(self, what: str, say: object) -> None:
            self.what = what

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *problem: object) -> None:
            pass

        def __call__(self, done: int, total: int) -> None:
            shown.append(f"{self.what} {done}/{total}")

    def stage(what: str, *seen: tuple[int, int] | None) -> Stage:
        left = list(seen)
        return Stage(what, lambda: left.pop(0))

    def last() -> None:
        over.set()

    monkeypatch.setattr("engine.cli.beginning.meter", Meter)
    monkeypatch.setattr("engine.cli.beginning.LOOK_S", 0)
    with showing(stage("a", (1, 2), None), stage("b", (3, 4), None), Stage("c", last)):
        assert over.wait(READY_S)
    assert shown == ["a 1/2", "b 3/4"]


def test_a_worker_tells_how_much_of_history_it_has_read(tmp_path: Path):
    with on_a_directory(tmp_path) as place, place.open() as client:
        for number in range(5):
            client.wait_for_workflow_completion(client.schedule_new_workflow("chain", input=number))
    log = EmbeddedLog(tmp_path, partitions=PARTITIONS)
    ports = WorkerPorts(log=log, source=EmbeddedCommandSource(log), open_store=lambda _: MemoryStore())
    worker = Worker(app.registry, ports, WorkerSettings())
    stage = restore_of(worker)
    assert stage.look() == (0, 0)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        assert worker.ready.wait(READY_S)
        restores = worker.loop.restores.values()
        assert len(restores) == PARTITIONS
        assert all(each.read == each.total for each in restores)
        assert sum(each.total for each in restores) >= 5 * 8
        assert stage.look() is None
    finally:
        worker.stop()
        thread.join(READY_S)
