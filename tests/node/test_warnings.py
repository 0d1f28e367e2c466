"""Warnings reach the operator once for each topic of a run, in bounded memory."""

from __future__ import annotations

from engine.model.effects import Warn
from engine.node import warnings
from engine.node.warnings import Warnings


def warn(run_id: str, topic: str = "payload") -> Warn:
    return Warn(instance_id="i", run_id=run_id, topic=topic, text=f"{run_id}: {topic}")


def test_each_topic_of_a_run_is_told_once(caplog) -> None:
    told = Warnings()
    for each in ("a", "b", "a", "a", "b"):
        told.tell(warn(each))
    told.tell(warn("a", "stall 7"))
    assert [record.getMessage() for record in caplog.records] == ["a: payload", "b: payload", "a: stall 7"]
    record = caplog.records[0]
    assert (record.levelname, record.instance_id, record.run_id) == ("WARNING", "i", "a")


def test_what_was_told_is_remembered_up_to_a_bound(caplog, monkeypatch) -> None:
    monkeypatch.setattr(warnings, "REMEMBERED_MAX", 2)
    told = Warnings()
    for each in ("a", "b", "c", "c", "a"):
        told.tell(warn(each))
    assert [record.getMessage()[0] for record in caplog.records] == ["a", "b", "c", "a"]
    assert len(told._told) == 2
