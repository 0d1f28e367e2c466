"""`make demo`: the story ends as told, and says so by its exit code."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_demo_kills_its_worker_and_both_orders_end_as_promised(tmp_path):
    done = demo(str(tmp_path / "log"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    told = done.stdout
    steps = ["order-2 waits for approval", "is dead by SIGKILL", "Placing order: laptop", "All as promised."]
    assert sorted(steps, key=told.index) == steps
    assert told.count("kept: ") == 6
    for title in ("History of order-1", "History of order-2"):
        assert "kill -9" in told[told.index(title) :]


def test_the_demo_leaves_a_directory_alone_that_is_there_already(tmp_path):
    done = demo(str(tmp_path))
    assert done.returncode == 1
    assert "expected a directory that is not there yet" in done.stderr
    assert list(tmp_path.iterdir()) == []
