"""Ctrl-C ends `engine` without a traceback, also while it still imports itself."""

from __future__ import annotations

import sys

import pytest

from engine.cli.entry import INTERRUPTED_EXIT, main

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
