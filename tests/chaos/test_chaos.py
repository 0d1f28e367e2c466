"""A slice of `make chaos` for every run of CI: fewer programs, few faults, one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.driver import Chaos, Plan

SEED = 2
# One after the other, on whatever machine this is: about two minutes on one that has nothing else to do.
MINUTES_MAX = 20
KINDS = (
    "worker kill",
    "EndTxn held",
    "table damaged",
    "foreign transaction",
    "worker stop/cont",
    "broker kill",
)


@pytest.mark.chaos
@pytest.mark.usefixtures("kafka_distribution")
@pytest.mark.timeout(60 * MINUTES_MAX)
def test_programs_survive_real_crashes(tmp_path: Path) -> None:
    plan = Plan(seed=SEED, kinds=KINDS, once=True, in_flight=12)
    report = Chaos(plan, tmp_path).run()
    text = report.text()
    assert report.is_clean, f"{text}\n  topics and logs are in {tmp_path}"
    assert {kind for kind, count in report.faults.items() if count} == {*KINDS, "held"}, text
    assert report.programs > len(KINDS), text
    assert report.takeovers, text
