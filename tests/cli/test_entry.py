"""Ctrl-C ends `engine` without a traceback, also while it still imports itself."""

from __future__ import annotations

import sys

import pytest

from engine.cli import ending
from engine.cli.entry import INTERRUPTED_EXIT, main
from engine.node.process import FAULT_EXIT

SLOW = "engine.cli.main"


class Impatient:
    """Interrupts the import that takes the time."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == SLOW:
            raise KeyboardInterrupt


def test_an_interrupted_import_is_an_exit_code_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, SLOW, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == INTERRUPTED_EXIT


def test_an_interrupt_that_no_signal_asked_for_names_the_code_that_raised_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(ending, "end_process", ended.append)

    def their_code() -> int:
        raise KeyboardInterrupt

    ending.serve_and_end(their_code)
    assert ended == [FAULT_EXIT]
    assert f"KeyboardInterrupt was raised by code, in their_code of {__file__}" in capsys.readouterr().err
