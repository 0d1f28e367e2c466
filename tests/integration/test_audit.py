"""What a run leaves in the topics can be read, and checked, without the engine."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration import auditor, invariants
from tests.integration.harness import AppUnderTest


@pytest.mark.parametrize("module", [auditor, invariants])
def test_the_auditor_imports_nothing_of_the_engine(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__ or "").read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    ours = {name for name in imported if name.split(".")[0] in ("engine", "tests")}
    assert ours <= {"tests.integration.invariants"}


def test_the_history_of_runs_decodes_and_holds_the_invariants(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    ids = subject.start("chain", 1, count=20)
    children = subject.start("parent", 2, count=5)
    sleepers = subject.start("sleeper", 30, count=5)
    audit = subject.auditor()

    assert set(audit.read_outcomes(ids).values()) == {4}
    assert set(audit.read_outcomes(children).values()) == {50}
    assert set(audit.read_outcomes(sleepers).values()) == {"awake"}
    audit.read_until_all_has_arrived()
    worker.stop()

    whole = subject.auditor()
    whole.read_all()
    whole.check(started=[*ids, *children, *sleepers])
    whole.check_nothing_is_on_its_way()
    chain = next(events for run, events in whole.runs.items() if run[0] == "chain-0")
    assert [event.kind for event in chain] == [
        "InstanceStarted",
        *["ActivityScheduled", "ActivityCompleted"] * 3,
        "InstanceCompleted",
    ]


def test_the_auditor_notices_what_must_not_be() -> None:
    started = {"instance_id": "a", "run_id": "r", "sequence": 1, "recorded_at_ms": 5, "inbox_offset": 0}
    scheduled = started | {"sequence": 2}
    completed = started | {"sequence": 3, "scheduled": 2, "attempt": 1, "inbox_offset": 1}
    run = [
        invariants.Recorded(0, "InstanceStarted", started | {"start_at_ms": None}),
        invariants.Recorded(0, "ActivityScheduled", scheduled),
        invariants.Recorded(0, "ActivityCompleted", completed),
    ]
    invariants.check_run(("a", "r"), run)
    again = invariants.Recorded(0, "ActivityCompleted", completed | {"sequence": 4})
    with pytest.raises(AssertionError, match="no open call"):
        invariants.check_run(("a", "r"), [*run, again])
    with pytest.raises(AssertionError, match="not dense"):
        invariants.check_run(("a", "r"), [run[0], run[2]])
    early = [
        invariants.Recorded(0, "TimerCreated", started | {"sequence": 4, "due_at_ms": 9}),
        invariants.Recorded(0, "TimerFired", started | {"sequence": 5, "timer": 4}),
    ]
    with pytest.raises(AssertionError, match="fired early"):
        invariants.check_timers(("a", "r"), early)
