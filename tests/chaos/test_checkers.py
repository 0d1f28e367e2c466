"""Every checker notices what it is there for: forged evidence, with one thing wrong each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.testing.model import OneOf
from tests.chaos.checkers import CHECKERS, Evidence, check_all
from tests.chaos.load import Published

PLACE = (b"0", b"7")
LATE = ("p", "RaiseEvent", "InstanceFinished", PLACE)


def evidence() -> Evidence:
    """Of a program that ended as it should: two events were published, one came too late."""
    published = Published({"ops": []}, OneOf(("COMPLETED", {"trace": [1]})))
    published.commands.update({"StartInstance": 1, "RaiseEvent": 2})
    return Evidence(
        programs={"p": published},
        outcomes={"p": ("InstanceCompleted", {"trace": [1]})},
        starts=Counter({"p": 1}),
        raised=Counter({"p": 1}),
        refused=[LATE],
        lags={"commands": 0},
        open_transactions={"history": 0},
    )


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert check_all(evidence()) == {name: [] for name in CHECKERS}


FORGERIES: list[tuple[str, Callable[[Evidence], None]]] = [
    ("losses", lambda e: e.outcomes.clear()),  # type: ignore[attr-defined]
    ("losses", lambda e: e.raised.clear()),
    ("losses", lambda e: e.refused.clear()),
    ("duplicates", lambda e: e.starts.update(["p"])),
    ("duplicates", lambda e: e.raised.update(["p"])),
    ("duplicates", lambda e: e.refused.append(LATE)),
    ("wrong outcomes", lambda e: e.outcomes.update(p=("InstanceCompleted", {"trace": [2]}))),  # type: ignore[attr-defined]
    ("wrong outcomes", lambda e: e.outcomes.update(p=("InstanceFailed", "ProgramError"))),  # type: ignore[attr-defined]
    ("unexpected dead letters", lambda e: e.refused.append(("p", "RaiseEvent", "InstanceNotFound", PLACE))),
    (
        "unexpected dead letters",
        lambda e: e.refused.append(("p", "StartInstance", "InstanceFinished", PLACE)),
    ),
    ("unexpected dead letters", lambda e: e.refused.append(("q", "RaiseEvent", "InstanceFinished", PLACE))),
    ("unrest", lambda e: e.open_runs.append(("p", "run"))),
    ("unrest", lambda e: e.lags.update(commands=1)),  # type: ignore[attr-defined]
    ("unrest", lambda e: e.open_transactions.update(history=1)),  # type: ignore[attr-defined]
]


@pytest.mark.parametrize(("checker", "forge"), FORGERIES)
def test_a_checker_finds_what_was_forged(checker: str, forge: Callable[[Evidence], None]) -> None:
    forged = evidence()
    forge(forged)
    assert list(CHECKERS[checker](forged)) != []


@pytest.mark.parametrize(
    "line", ["Traceback (most recent call last):", '{"message":"partition 1 can\'t be owned"}']
)
def test_a_complaint_in_a_log_is_found(tmp_path: Path, line: str) -> None:
    log = tmp_path / "worker.log"
    log.write_text(f'{{"message":"worker ready"}}\n{line}\n')
    told = evidence()
    told.logs = [log]
    (found,) = CHECKERS["log complaints"](told)
    assert found.startswith("worker.log:2:")
