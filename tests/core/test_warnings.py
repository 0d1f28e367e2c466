"""Before a limit is reached somebody is told: which instance, what value, which limit, and what to do."""

from __future__ import annotations

import pytest

from engine.core import limits
from engine.model import effects as ef
from tests.core.driver import World, wait

LARGE = limits.PAYLOAD_BYTES_WARNED


def warnings(turn) -> list[tuple[str, str]]:
    return [(each.topic, each.text) for each in turn.effects if type(each) is ef.Warn]


def echoing(ctx, value):
    yield ctx.call_activity("step", input=value)
    return value


def test_a_large_payload_is_warned_of_wherever_it_goes() -> None:
    world = World(echoing)
    assert warnings(world.start("echoing", "x" * (LARGE - 1_000))) == []

    world = World(echoing)
    coming = warnings(world.start("echoing", "x" * LARGE))
    assert [topic for topic, _ in coming] == ["payload", "payload"]
    assert coming[0][1].startswith(
        "instance 'i' handles large payloads, its CallActivity of 131,074 bytes, of "
    )
    assert coming[0][1].endswith("at most 524,288; store large values elsewhere and pass a reference")
    assert "its StartInstance of 131," in coming[1][1]
    assert "its CompleteInstance of 131,074 bytes" in warnings(world.complete())[0][1]


def test_a_long_history_is_warned_of_once(monkeypatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_WARNED", 3)
    world = World(wait())
    world.start("waiting")
    told = [warnings(world.raise_event("other")) for _ in range(4)]
    text = "instance 'i' has 3 events of history, of at most 51,200; let the workflow use continue_as_new"
    assert told == [[], [("history events", text)], [], []]


@pytest.mark.parametrize(("size", "count"), [(-1, 0), (0, 1)])
def test_a_large_history_is_warned_of(size: int, count: int) -> None:
    world = World(wait())
    world.start("waiting")
    world.seat().state.history_bytes = limits.HISTORY_BYTES_WARNED + size
    told = warnings(world.raise_event("other"))
    assert len(told) == count
    text = "instance 'i' has 8,388,608 bytes of history, of at most 52,428,800; let the workflow use "
    assert all(each == ("history bytes", f"{text}continue_as_new") for each in told)


def test_a_stall_is_told_with_its_reason_and_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 2)
    world = World(wait())
    world.start("waiting")
    world.raise_event("other")
    ((topic, text),) = warnings(world.raise_event("other"))
    assert topic == "stall 3"
    assert text.startswith("instance 'i' is stalled: HistoryLimitExceeded: expected at most 2 events")
    assert warnings(world.raise_event("other")) == []
    state = world.seat().state
    assert (state.stall, state.stall_detail in text) == ("HistoryLimitExceeded", True)
