"""The invariants that history alone must keep: I1-I5 and I9, and the bounds of one commit (I11)."""

from typing import Any

import msgspec

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY
from engine.model import commands as cm
from engine.model import events as ev
from engine.model.checkpoint import Checkpoint
from engine.partition.ports import Record
from engine.testing.evidence import Evidence, RunKey
from engine.testing.memory_broker import Violation

FIRINGS_MAX = 8
_DUE = frozenset({cm.FireTimer.__name__, cm.ExpireInstance.__name__})
# As the README has it; not read from the engine, whose limit may be wrong.
COMMAND_BYTES_MAX = 900_000
# One record may continue a run so many times, and each leaves a purge behind.
PURGES_PER_RECORD_MAX = 25


def check_runs(evidence: Evidence) -> int:
    """I2, I3, I5: dense, one end, each call completed once and after its scheduling, no timer early."""
    for run, events in evidence.runs.items():
        check_run(run, events)
    return sum(map(len, evidence.runs.values()))


def check_run(run: RunKey, events: list[ev.Recorded]) -> None:
    """The same for one run."""
    sequences = [recorded.sequence for recorded in events]
    if sequences != list(range(1, len(events) + 1)):
        raise Violation(f"I2: {run} has the events {sequences}")
    ends = [r.sequence for r in events if isinstance(r.event, ev.TERMINAL_EVENTS)]
    if ends and ends != [len(events)]:
        raise Violation(f"I2: {run} of {len(events)} events ends at {ends}")
    _check_calls(run, events)
    _check_timers(run, events)


def _check_calls(run: RunKey, events: list[ev.Recorded]) -> None:
    open_calls: set[int] = set()
    for recorded in events:
        event = recorded.event
        if isinstance(event, ev.ActivityScheduled | ev.ChildScheduled):
            open_calls.add(recorded.sequence)
        ending = ev.ActivityCompleted | ev.ActivityFailed | ev.ChildCompleted | ev.ChildFailed
        if isinstance(event, ending):
            if event.scheduled not in open_calls:
                raise Violation(f"I3: event {recorded.sequence} of {run} completes {event.scheduled} again")
            open_calls.remove(event.scheduled)


def _check_timers(run: RunKey, events: list[ev.Recorded]) -> None:
    due: dict[int, int] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, ev.TimerCreated):
            due[recorded.sequence] = event.due_at_ms
        elif isinstance(event, ev.InstanceStarted) and event.start_at_ms is not None:
            due[1] = event.start_at_ms
        elif isinstance(event, ev.TimerCancelled):
            due.pop(event.timer, None)
        elif isinstance(event, ev.TimerFired):
            due_ms = due.pop(event.timer, None)
            if due_ms is None or recorded.recorded_at_ms < due_ms:
                fired = f"fired at {recorded.recorded_at_ms}, due {due_ms}"
                raise Violation(f"I5: timer {event.timer} of {run} {fired}")
        elif isinstance(event, ev.ActivityAttemptFailed | ev.ChildAttemptFailed):
            due[-event.scheduled] = event.retry_at_ms
        elif isinstance(event, ev.ActivityRetried | ev.ChildRetried):
            due_ms = due.pop(-event.scheduled, None)
            if due_ms is not None and recorded.recorded_at_ms < due_ms:
                raise Violation(f"I5: call {event.scheduled} of {run} was retried early")


def check_answers(evidence: Evidence) -> int:
    """I3: what completes a call was executed for that very call, and answers what it asked."""
    executed, count = set(evidence.broker.executed), 0
    for run, events in evidence.runs.items():
        for recorded in events:
            event = recorded.event
            if not isinstance(event, ev.ActivityCompleted):
                continue
            asked = events[event.scheduled - 1].event
            assert isinstance(asked, ev.ActivityScheduled)
            if (asked.call_id, event.attempt) not in executed:
                raise Violation(f"I3: attempt {event.attempt} of call {event.scheduled} of {run} never ran")
            _check_answer(run, asked, event)
            count += 1
    return count


def _check_answer(run: RunKey, asked: ev.ActivityScheduled, event: ev.ActivityCompleted) -> None:
    assert asked.input is not None
    assert event.result is not None
    request: dict[str, Any] = msgspec.json.decode(asked.input.data)
    answer: Any = request["value"] * 2 + 1
    if "note" in request:
        answer = {"answer": answer, "note": request["note"]}
    found = msgspec.json.decode(event.result.data)
    if found != answer:
        raise Violation(f"I3: call {event.scheduled} of {run} asked {request}, but was told {found}")


def check_inputs(evidence: Evidence) -> int:
    """I1: each published command has one effect or one dead letter. So has what nobody can read."""
    for record in evidence.broker.published:
        place = (record.partition, record.offset)
        felt = sum(1 for each in evidence.carried.get(place, ()) if evidence.effects[each])
        refused = evidence.letters[(b"commands", *place)]
        if refused and any(each in evidence.unstalled for each in evidence.carried.get(place, ())):
            felt = 0  # what bears this record's number is the end of a stall, which came after it
        if felt + refused != 1 and not (felt + refused == 0 and _is_purge(record.value or b"")):
            raise Violation(f"I1: the command at {place} had {felt} effects and {refused} dead letters")
    for record in evidence.broker.forged:
        refused = evidence.letters[(b"inbox", record.partition, record.offset)]
        if refused != 1:
            raise Violation(f"I1: the forged record at {record.offset} left {refused} dead letters")
    return len(evidence.broker.published) + len(evidence.broker.forged)


def _is_purge(value: bytes) -> bool:
    return avro.kind_of(value) == cm.PurgeInstance.__name__


def check_order(evidence: Evidence) -> int:
    """I4: of one sender's events to one instance, each later one is recorded later."""
    count = 0
    for client in evidence.world.clients:
        last = -1
        for record in client.raised:
            landed = evidence.carried.get((record.partition, record.offset), ())
            offsets = [offset for offset, instance_id in landed if evidence.effects[(offset, instance_id)]]
            if offsets and offsets[0] <= last:
                raise Violation(f"I4: the event {record.offset} of {client.instance_id} overtook another")
            last = max([last, *offsets])
            count += 1
    return count


def check_refusals(evidence: Evidence) -> int:
    """I11: what is refused for its size is told the size and the limit."""
    letters = evidence.broker.deadletters.records
    refused = set()
    for letter in letters:
        found = dict(letter.headers)
        if found["reason"] != b"TooLarge":
            continue
        refused.add((found["source.partition"], found["source.offset"]))
        if not (b"expected" in found["detail"] and any(digit in found["detail"] for digit in b"0123456789")):
            raise Violation(f"I11: a record was refused for its size, with the words {found['detail']!r}")
    for record in evidence.broker.published:
        place = (str(record.partition).encode(), str(record.offset).encode())
        if len(record.value or b"") > COMMAND_BYTES_MAX and place not in refused:
            raise Violation(
                f"I11: a command of {len(record.value or b'')} bytes was taken for one of its size"
            )
    return len(letters)


def check_checkpoints(evidence: Evidence) -> int:
    """I9: the commits of a partition are one chain: no owner that was fenced got in between."""
    count = 0
    for partition, journal in enumerate(evidence.broker.history_journal):
        last: Checkpoint | None = None
        commit: list[Record] = []
        for record in journal:
            if record.key != CHECKPOINT_KEY or record.value is None:
                commit.append(record)
                continue
            checkpoint = avro.decode_checkpoint(record.value)
            count += 1
            if last is not None:
                _check_step(partition, last, checkpoint)
                _check_size(evidence, last, checkpoint, commit)
            last, commit = checkpoint, []
    return count


def _check_step(partition: int, last: Checkpoint, following: Checkpoint) -> None:
    is_chained = following.batch == last.batch + 1 and following.offset >= last.offset
    if not is_chained or following.epoch not in (last.epoch, last.epoch + 1):
        before, after = (f"{c.epoch}/{c.batch}/{c.offset}" for c in (last, following))
        raise Violation(f"I9: checkpoint {after} (epoch/batch/offset) of {partition} follows {before}")
    taken = {(m.topic_id, m.partition): m.offset for m in last.sources}
    for mark in following.sources:
        if mark.offset < taken.get((mark.topic_id, mark.partition), -1):
            raise Violation(f"I9: the mark of {mark.topic_id}/{mark.partition} went back to {mark.offset}")


def _check_size(evidence: Evidence, last: Checkpoint, following: Checkpoint, commit: list[Record]) -> None:
    inputs = following.offset - last.offset
    if inputs > following.uncommitted_records_max:
        raise Violation(f"I11: {inputs} records in one commit, at most {following.uncommitted_records_max}")
    kinds = {avro.kind_of(record.value) for record in commit if record.value is not None}
    if following.epoch != last.epoch or ev.InstanceUnstalled.__name__ in kinds:
        return  # a claim's first commit also writes over what was torn, its second ends stalls
    tombstones = sum(1 for r in commit if r.value is None and not r.key.startswith(b"~"))
    allowed = evidence.world.settings.purge_records_max + PURGES_PER_RECORD_MAX * inputs
    if tombstones > allowed:
        raise Violation(f"I11: {tombstones} tombstones in one commit of {inputs} records, at most {allowed}")


def check_timers(evidence: Evidence) -> int:
    """I11: nothing due is asked for over and over: a few times for each claim and step of a clock at most."""
    broker, counts = evidence.broker, evidence.world.faults.counts
    steps = counts["clock step"] + counts["leader moves"] + counts["clock drift"] + counts["clock jump"]
    allowed = FIRINGS_MAX + 3 * steps + counts["append twice"]
    fired: dict[tuple[int, bytes], int] = {}
    for partition, journal in enumerate(broker.inbox_journal):
        for record in journal:
            if record.value is not None and avro.kind_of(record.value) in _DUE:
                key = (partition, record.value)
                fired[key] = fired.get(key, 0) + 1
    for (partition, value), count in fired.items():
        if count > allowed + 2 * broker.epochs[partition][0]:
            raise Violation(f"I11: {avro.decode_command(value)!r:.200} was appended {count} times")
    return len(fired)
