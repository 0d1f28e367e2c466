"""The first code of the README is what `engine dev` runs, as the README says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGINE = (sys.executable, "-m", "engine.cli.main")
DEADLINE_S = 60


def engine(directory: Path, line: str) -> str:
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]
    return subprocess.run(
        [*ENGINE, *words],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    ).stdout


def test_the_first_code_of_the_readme_runs_as_it_says(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    session = re.search(r"\$ engine dev shop:app.*?\n(.*?)```", text, re.DOTALL)
    assert code is not None
    assert session is not None
    (tmp_path / "shop.py").write_text(code[1], encoding="utf-8")
    command = [*ENGINE, "dev", "shop:app"]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            assert worker.stdout is not None
            assert any("ready" in line for line in worker.stdout)
            shown = [
                engine(tmp_path, line) for line in re.findall(r"^\$ engine (.*)$", session[1], re.MULTILINE)
            ]
            assert "COMPLETED" in shown[-1]
            assert "charged 12" in shown[-1]
        finally:
            worker.send_signal(signal.SIGINT)
            worker.communicate(timeout=DEADLINE_S)
    assert worker.returncode == 0
