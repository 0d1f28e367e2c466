"""What the read model shows, from history written by hand."""

from __future__ import annotations

import pytest

from engine.codec.avro import encode_event
from engine.codec.topics import partition_of
from engine.core.values import encode_value
from engine.errors import InvalidCommandError
from engine.model import events as ev
from engine.model.failure import Failure, ParentLink, Payload
from engine.model.state import Status
from engine.projection import Count, Filter, Order
from engine.projection import fold as fold_module
from tests.projection.made_log import PARTITIONS, recorded

STARTED = ev.InstanceStarted(workflow="order", input=Payload(b'{"item":"tea"}'))
COMPLETED = ev.InstanceCompleted(output=Payload(b'"done"'))
CALLED = ev.ActivityScheduled(name="charge", call_id=b"c" * 16)
CHILD = ev.ChildScheduled(instance_id="kid", workflow="ship", call_id=b"k" * 16)


def ids(page) -> list[str]:
    return [row.instance_id for row in page.rows]


def test_an_instance_is_shown_with_its_payloads(log, shown):
    log.commit(("a|b", "r1", 1, STARTED), ("a|b", "r1", 2, ev.CustomStatusSet(status="packing")))
    running = shown().find("a|b")
    assert (running.row.status, running.row.custom_status) == (Status.RUNNING, "packing")
    assert (running.input, running.output) == (Payload(b'{"item":"tea"}'), None)
    log.commit(("a|b", "r1", 3, COMPLETED), at_ms=2_000)
    done = shown().find("a|b")
    assert (done.row.status, done.output, done.row.events) == (Status.COMPLETED, Payload(b'"done"'), 3)
    assert (done.row.created_at_ms, done.row.updated_at_ms) == (1_000, 2_000)


def test_a_failure_is_shown_as_dapr_shows_it(log, shown):
    failure = Failure(type="ValueError", message="no tea", stack="line 1")
    log.commit(("a", "r1", 1, STARTED), ("a", "r1", 2, ev.InstanceFailed(failure=failure)))
    details = shown().find("a").failure
    assert (details.error_type, details.message, details.stack_trace) == ("ValueError", "no tea", "line 1")


def test_an_unknown_instance_is_none_and_has_no_history(shown):
    reader = shown()
    assert reader.find("nobody") is None
    assert reader.history("nobody") == []


def test_what_is_in_no_whole_commit_is_not_shown(log, shown):
    log.commit(("a", "r1", 1, STARTED))
    log.tear(("a", "r1", 2, COMPLETED))
    # What was torn is taken back by a tombstone in the next commit.
    log.commit(("a", "r1", 2, None), ("a", "r1", 2, ev.CustomStatusSet(status="on")))
    assert shown().find("a").row.status is Status.RUNNING


def test_a_purge_removes_every_row(log, shown):
    log.commit(("a", "r1", 1, STARTED), ("a", "r1", 2, CHILD), ("a", "r1", 3, COMPLETED))
    assert shown().children("a") == [("kid", "ship")]
    log.commit(("a", "r1", 1, None))
    log.commit(("a", "r1", 2, None), ("a", "r1", 3, None))
    reader = shown()
    assert reader.find("a") is None
    assert (reader.history("a"), reader.children("a"), reader.counts()) == ([], [], [])


def test_only_the_newest_run_is_shown(log, shown):
    log.commit(("a", "r1", 1, STARTED), ("a", "r1", 2, CHILD), ("a", "r1", 3, CALLED))
    log.commit(
        ("a", "r1", 4, ev.InstanceContinuedAsNew(new_run_id="r2")),
        ("a", "r2", 1, ev.InstanceStarted(workflow="order", previous_run_id="r1")),
        ("a", "r1", 1, None),
    )
    reader = shown()
    assert [(each.run_id, each.event_id) for each in reader.history("a")] == [("r2", 1)]
    assert reader.children("a") == []
    assert reader.counts() == [Count(workflow="order", status=Status.RUNNING, instances=1)]


def test_counts_follow_every_change_of_status(log, shown):
    for number in range(10):
        log.commit((f"a{number}", "r1", 1, STARTED))
    assert shown().counts() == [Count(workflow="order", status=Status.RUNNING, instances=10)]
    for number in range(3):
        log.commit((f"a{number}", "r1", 2, COMPLETED))
    log.commit(("a9", "r1", 2, ev.InstanceSuspended()))
    log.commit(("a0", "r1", 1, None))
    assert {(each.status, each.instances) for each in shown().counts()} == {
        (Status.RUNNING, 6),
        (Status.SUSPENDED, 1),
        (Status.COMPLETED, 2),
    }


def test_history_is_decoded_and_can_be_read_on_from_an_event(log, shown):
    charged = ev.ActivityCompleted(scheduled=2, attempt=1, result=encode_value({"paid": 12}, "result"))
    log.commit(("a", "r1", 1, STARTED), ("a", "r1", 2, CALLED), ("a", "r1", 3, charged))
    events = shown().history("a")
    assert [each.event_type for each in events] == [
        "InstanceStarted",
        "ActivityScheduled",
        "ActivityCompleted",
    ]
    assert events[2].attributes["result"] == {"paid": 12}
    assert [each.event_id for each in shown().history("a", after=1, limit=1)] == [2]


def test_a_state_that_was_forgotten_is_folded_again_from_the_rows(log, shown, monkeypatch):
    monkeypatch.setattr(fold_module, "ENTRIES_MAX", 1)
    for number in range(20):
        log.commit((f"a{number}", "r1", 1, STARTED), (f"a{number}", "r1", 2, CALLED))
        shown()
    for number in range(20):
        result = ev.ActivityCompleted(scheduled=2, attempt=1)
        log.commit((f"a{number}", "r1", 3, result), (f"a{number}", "r1", 4, COMPLETED))
    assert shown().counts() == [Count(workflow="order", status=Status.COMPLETED, instances=20)]


def test_what_a_newer_engine_wrote_stays_as_it_was_last_understood(log, shown):
    newer = b"\xc3\x01" + b"\x07" * 8 + b"of tomorrow"
    log.commit(("a", "r1", 1, STARTED))
    log.commit(("b", "r1", 1, STARTED))
    log.commit(("a", "r1", 2, newer))
    log.commit(("a", "r1", 3, COMPLETED))
    log.commit(("b", "r1", 2, COMPLETED))
    reader = shown()
    row = reader.find("a").row
    assert (row.status, row.is_unreadable, row.events) == (Status.RUNNING, True, 3)
    assert [each.event_type for each in reader.history("a")][1] == "Unreadable"
    assert reader.find("b").row.status is Status.COMPLETED


def test_a_run_whose_beginning_is_missing_is_not_shown(log, shown):
    log.commit(("a", "r1", 7, COMPLETED))
    log.commit(("b", "r1", 1, STARTED))
    reader = shown()
    assert reader.find("a") is None
    assert reader.find("b") is not None


def test_a_start_that_cannot_be_read_shows_nothing_and_harms_nobody(log, shown):
    log.commit(("a", "r1", 1, b"\xc3\x01" + b"\x07" * 8), ("a", "r1", 2, COMPLETED))
    log.commit(("b", "r1", 1, STARTED))
    reader = shown()
    assert (reader.find("a"), reader.history("a")) == (None, [])
    assert reader.find("b") is not None


# --- lists ---


def test_filters_hold_together(log, shown):
    parent = ParentLink(instance_id="mum", run_id="r", scheduled=1, call_id=b"k" * 16)
    for number, name in enumerate(("tea-1", "tea-2", "coffee-1", "coffee-2")):
        log.commit((name, "r1", 1, STARTED), at_ms=1_000 + number)
    log.commit(("kid", "r1", 1, ev.InstanceStarted(workflow="ship", parent=parent)), at_ms=5_000)
    log.commit(("tea-2", "r1", 2, COMPLETED))
    reader = shown()
    assert ids(reader.page(Filter(prefix="tea-"))) == ["tea-2", "tea-1"]
    assert ids(reader.page(Filter(prefix="tea-", statuses=(Status.RUNNING,)))) == ["tea-1"]
    assert ids(reader.page(Filter(workflow="ship"))) == ["kid"]
    assert ids(reader.page(Filter(parent="mum"))) == ["kid"]
    times = Filter(created_from_ms=1_001, created_before_ms=1_003)
    assert ids(reader.page(times)) == ["coffee-1", "tea-2"]
    both = Filter(statuses=(Status.COMPLETED, Status.RUNNING), workflow="order")
    assert len(ids(reader.page(both))) == 4


@pytest.mark.parametrize("order", list(Order))
def test_ten_thousand_instances_are_listed_exactly_once_while_new_ones_arrive(log, shown, order):
    names = [f"n-{number:05d}" for number in range(10_000)]
    for number, name in enumerate(names):
        # Many share a millisecond, as under load.
        log.commit((name, "r1", 1, STARTED), at_ms=1_000 + number // 50)
    seen: list[str] = []
    after: str | None = None
    for number in range(1_000):
        page = shown().page(Filter(), order=order, after=after, limit=137)
        seen += ids(page)
        log.commit((f"late-{number}", "r1", 1, STARTED), at_ms=9_000 + number)
        after = page.next_after
        if after is None:
            break
    old = [name for name in seen if name.startswith("n-")]
    assert sorted(old) == names
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("after", ["", "x", "!!", "WzEsMl0", "W251bGwsbnVsbF0", "é"])
def test_a_mark_that_no_page_said_is_refused(shown, after):
    with pytest.raises(InvalidCommandError, match="expected the mark of a page"):
        shown().page(Filter(), after=after)


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_has_bounds(shown, limit):
    with pytest.raises(InvalidCommandError, match="expected a page of 1 to 1,000"):
        shown().page(Filter(), limit=limit)


def test_what_is_kept_of_an_event_is_its_bytes(log, shown):
    log.commit(("a", "r1", 1, STARTED))
    partition = partition_of("a", PARTITIONS)
    assert shown().values("a", partition) == (
        log.ends()[partition],
        [encode_event("a", recorded("r1", 1, STARTED))],
    )
