"""Ctrl-C ends `engine` without a traceback, also while it still imports itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import ending
from engine.cli.entry import INTERRUPTED_EXIT, UNWRITTEN_EXIT, main
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


ENGINE = [sys.executable, "-c", "from engine.cli.entry import main; main()"]


def test_output_that_has_no_room_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ENGINE, "list", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == UNWRITTEN_EXIT
    assert done.stderr == "Error: expected to write the output, but: No space left on device\n"


def test_what_a_terminal_can_t_show_is_escaped_so_that_json_stays_json() -> None:
    text = "ż-\U0001f389"
    code = (
        "import json; from engine.cli.entry import show_what_can_be_shown; show_what_can_be_shown();"
        f"print(json.dumps({text!a}, ensure_ascii=False))"
    )
    plain = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=True, env=plain
    )
    assert done.stdout.isascii()
    assert json.loads(done.stdout) == text
