"""What is shown of an instance, from records made by hand: commits, torn commits, purges, gaps."""

from __future__ import annotations

from engine.client import WorkflowStatus
from engine.client.fold import Commits, Fold, instance_key_of
from engine.client.mirror import PENDING_RECORDS_MAX, Mirror
from engine.client.state import plain, text_of
from engine.codec.avro import encode_event
from engine.codec.topics import CHECKPOINT_KEY, history_key
from engine.model import events as ev
from engine.model.failure import Payload
from engine.partition.ports import Record

STARTED = ev.InstanceStarted(workflow="order", input=Payload(b"1"))
COMPLETED = ev.InstanceCompleted(output=Payload(b"2"))


def record(offset: int, sequence: int, event: ev.Event | None, run_id: str = "r1", of: str = "a|b") -> Record:
    value = None
    if event is not None:
        recorded = ev.Recorded(
            run_id=run_id, sequence=sequence, recorded_at_ms=1000 + offset, inbox_offset=offset, event=event
        )
        value = encode_event(of, recorded)
    return Record(0, offset, 1000 + offset, history_key(of, run_id, sequence), value)


def checkpoint(offset: int) -> Record:
    return Record(0, offset, 0, CHECKPOINT_KEY, b"")


def folded(*records: Record) -> Fold:
    fold, commits = Fold("a|b", keeps_events=True), Commits()
    for each in records:
        for one in commits.add(each):
            fold.add(one)
    return fold


def test_the_instance_of_a_key_is_read_from_the_right():
    assert instance_key_of(b"a|b|r1|12") == b"a|b"
    assert instance_key_of(b"~out|x:0|1") == b"~out"
    assert instance_key_of(b"~checkpoint") == b""


def test_what_has_no_checkpoint_does_not_count():
    assert folded(record(0, 1, STARTED)).shown() is None
    assert folded(record(0, 1, STARTED), checkpoint(1)).shown().runtime_status is WorkflowStatus.RUNNING


def test_a_torn_commit_and_the_tombstones_that_take_it_back_leave_nothing():
    fold = folded(
        record(0, 1, STARTED),
        checkpoint(1),
        record(2, 2, COMPLETED),
        record(3, 2, None),
        checkpoint(4),
        record(5, 2, ev.CustomStatusSet(status="packing")),
        checkpoint(6),
    )
    assert fold.shown().runtime_status is WorkflowStatus.RUNNING
    assert fold.shown().serialized_custom_status == "packing"
    assert not fold.is_broken


def test_a_purge_in_slices_leaves_nothing_and_a_new_run_stays():
    purge = [record(3, 1, None), checkpoint(4), record(5, 2, None), checkpoint(6)]
    begin = [record(0, 1, STARTED), record(1, 2, COMPLETED), checkpoint(2)]
    assert folded(*begin, *purge).shown() is None
    again = record(3, 1, STARTED, run_id="r2")
    fold = folded(*begin, again, record(4, 1, None), record(5, 2, None), checkpoint(6))
    assert fold.shown().run_id == "r2"
    assert [event.run_id for event in fold.events] == ["r2"]


def test_missing_records_are_noticed():
    gap = folded(record(0, 1, STARTED), record(1, 3, COMPLETED), checkpoint(2))
    assert gap.is_broken
    headless = folded(record(1, 3, COMPLETED), checkpoint(2))
    assert headless.is_broken
    assert headless.shown() is None


def test_an_outcome_from_before_the_floor_is_not_shown():
    records = [record(5, 1, STARTED), record(6, 2, COMPLETED)]
    earlier, later = Mirror("a|b", 7), Mirror("a|b", 5)
    for each in records:
        earlier.add(each)
        later.add(each)
    assert earlier.shown(fetch_payloads=True) is None
    assert later.shown(fetch_payloads=True).output == 2


def test_only_an_outcome_wakes_those_who_are_not_curious():
    mirror = Mirror("a|b", 0)
    assert not mirror.add(record(0, 1, STARTED))
    assert not mirror.add(record(1, 2, ev.InstanceContinuedAsNew(new_run_id="r2")))
    assert mirror.add(record(2, 3, COMPLETED))
    mirror.curious.add("me")
    assert mirror.add(record(3, 1, STARTED, run_id="r2"))


def test_a_mirror_that_nobody_looks_at_does_not_grow_without_bound():
    mirror = Mirror("a|b", 0)
    for offset in range(PENDING_RECORDS_MAX):
        assert not mirror.is_neglected
        mirror.add(record(offset, offset + 1, ev.CustomStatusSet(status="x")))
    assert mirror.is_neglected


def test_payloads_that_are_not_json_are_shown_in_base64():
    image = Payload(b"\x89PNG", "image/png")
    assert plain(image) == {"content_type": "image/png", "base64": "iVBORw=="}
    assert text_of(image) == '{"content_type":"image/png","base64":"iVBORw=="}'
    assert plain(Payload(b"not json")) == {"content_type": "", "base64": "bm90IGpzb24="}
    assert text_of(Payload(b"\xff")) == '{"content_type":"","base64":"/w=="}'
    assert text_of(Payload(b"[1, 2]")) == "[1, 2]"


def test_a_mirror_passes_over_what_is_not_shown_but_for_the_time_of_the_last():
    events = [STARTED] + 2_000 * [ev.EventRaised(name="x")]
    records = [record(number, number + 1, event) for number, event in enumerate(events)]
    mirror = Mirror("a|b", 0)
    for each in records:
        assert not mirror.add(each)
    assert not mirror.is_neglected
    assert mirror.shown(fetch_payloads=True) == folded(*records, checkpoint(2_001)).shown()
    mirror.add(record(2_001, 2_002, COMPLETED))
    assert mirror.shown(fetch_payloads=True).runtime_status is WorkflowStatus.COMPLETED


def test_a_mirror_that_begins_in_the_middle_must_read_what_lies_before():
    mirror = Mirror("a|b", 0)
    mirror.add(record(7, 8, ev.EventRaised(name="x")))
    assert mirror.shown(fetch_payloads=True) is None
    assert mirror.must_read
