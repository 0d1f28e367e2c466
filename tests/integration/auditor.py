"""Audits an app by its topics alone: confluent-kafka, fastavro and `schemas/`, and nothing from `engine`.

What compaction has thinned out can't be checked in full: `has_gaps` says so.
"""

from __future__ import annotations

import io
import json
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from fastavro import schemaless_reader
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from tests.integration.invariants import TERMINAL, Body, Recorded, Run, check_run

SCHEMAS = Path(__file__).parents[2] / "schemas"
MAGIC = b"\xc3\x01"
CHECKPOINT_KEY = b"~checkpoint"
OUT_PREFIX = b"~out|"
PATIENCE_SECONDS = 120.0


def load_schemas() -> dict[bytes, Any]:
    """Every schema by its fingerprint, as fastavro computes it from the files."""
    schemas = {}
    for path in sorted(SCHEMAS.rglob("*.avsc")):
        schema = json.loads(path.read_text())
        number = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        schemas[bytes.fromhex(number)] = parse_schema(schema)
    return schemas


_SCHEMAS = load_schemas()


def decode(value: bytes) -> tuple[str, Body]:
    """(kind, fields) of a record in Avro's single-object encoding. All of its bytes must be used."""
    assert value[:2] == MAGIC, f"expected single-object encoding, but got {value[:12]!r}"
    schema = _SCHEMAS.get(value[2:10])
    if schema is None:
        message = f"expected a schema of schemas/, but got fingerprint {value[2:10].hex()}"
        raise AssertionError(message)
    body = io.BytesIO(value[10:])
    fields = schemaless_reader(body, schema, None)
    assert not body.read(), "bytes are left over"
    assert isinstance(fields, dict)
    return schema["name"].rpartition(".")[2], fields


@dataclass(frozen=True)
class Seen:
    """A record as read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes | None
    headers: dict[str, bytes]


@dataclass
class Partition:
    """What is known of one partition of history."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    checkpoint: Body | None = None
    since_checkpoint: list[Seen] = field(default_factory=list)
    commits: int = 0


class Auditor:
    """Reads an app's topics from their starts, read_committed, and holds them against the invariants."""

    CLIENT: ClassVar[dict[str, Any]] = {}

    def __init__(self, bootstrap_servers: str, app: str, namespace: str = "wf") -> None:
        self.prefix = f"{namespace}.{app}"
        self.runs: dict[Run, list[Recorded]] = defaultdict(list)
        # Runs that have given way to the next, or were purged.
        self.past: dict[Run, list[Recorded]] = {}
        self.torn = 0
        self.dead_letters: list[Seen] = []
        self.inbox: list[Seen] = []
        self.replies: list[Seen] = []
        self.partitions: dict[int, Partition] = defaultdict(Partition)
        self.has_gaps = False
        self._finished: dict[str, tuple[str, Any]] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"audit-{time.time_ns()}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": False,
                "fetch.wait.max.ms": 20,
                "fetch.queue.backoff.ms": 5,
                **self.CLIENT,
            }
        )
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, **self.CLIENT})
        self._assigned = False

    def close(self) -> None:
        self._consumer.close()

    # --- reading ---

    def read_until(self, condition: Callable[[], bool], what: str) -> None:
        """Reads on until `condition` holds of what was read."""
        self._assign()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            first = self._consumer.poll(0.1)
            if first is not None:
                self._take_all([first, *self._consumer.consume(5_000, 0)])
            elif time.monotonic() > deadline:
                raise AssertionError(
                    f"expected {what} within {PATIENCE_SECONDS:.0f} s, but saw {self.summary()}"
                )

    def read_outcomes(self, instance_ids: Iterable[str]) -> dict[str, Any]:
        """Reads until all of these have ended; their outcomes: a decoded output, or a failure's type."""
        wanted = set(instance_ids)
        self.read_until(lambda: wanted <= self._finished.keys(), f"{len(wanted)} outcomes")
        return {each: self._finished[each][1] for each in sorted(wanted)}

    def read_outcome(self, instance_id: str, outcome: Any) -> None:
        """Reads until the instance's run, perhaps not its first, has ended with this."""
        self.read_until(
            lambda: self._finished.get(instance_id, ("", None))[1] == outcome,
            f"{instance_id} to end with {outcome!r}",
        )

    def read_events(self, instance_id: str, kind: str, count: int = 1) -> list[Recorded]:
        """Reads until the instance's history has `count` events of a kind."""
        self.read_until(
            lambda: len(self._events(instance_id, kind)) >= count, f"{count} {kind} of {instance_id}"
        )
        return self._events(instance_id, kind)

    def read_dead_letters(self, count: int) -> list[Seen]:
        """Reads until there are `count` dead letters."""
        self.read_until(lambda: len(self.dead_letters) >= count, f"{count} dead letters")
        return self.dead_letters

    def read_replies(self, requester: str, count: int) -> dict[str, Body]:
        """Reads until there are `count` replies; those in the partition of `requester`, by request id."""
        self.read_until(lambda: len(self.replies) >= count, f"{count} replies")
        partitions = self._admin.list_topics(timeout=10).topics[f"{self.prefix}.replies"].partitions
        place = zlib.crc32(requester.encode()) % len(partitions)
        found = [
            (seen.key.decode(), decode(seen.value or b"")) for seen in self.replies if seen.partition == place
        ]
        assert all(kind == "Reply" and body["request_id"] == key for key, (kind, body) in found)
        return {key: body for key, (_, body) in found if body["requester"] == requester}

    def read_inbox(self, kind: str, instance_id: str) -> None:
        """Reads until the inbox has held such a record. It isn't transactional: this is before any commit."""
        self.read_until(lambda: self._in_inbox(kind, instance_id), f"a {kind} in the inbox of {instance_id}")

    def read_all(self) -> None:
        """Reads to the ends of all topics as they are now."""
        self._assign()
        ends = {}
        for place in self._consumer.assignment():
            start, end = self._consumer.get_watermark_offsets(place, timeout=10)
            if start < end:
                ends[place.topic, place.partition] = end
        self.read_until(lambda: self._is_behind(ends), "the ends of all topics")

    def read_what_is_there(self, seconds: float) -> None:
        """Reads what comes within the time."""
        self._assign()
        first = self._consumer.poll(seconds)
        if first is not None:
            self._take_all([first, *self._consumer.consume(5_000, 0)])

    @property
    def outcomes(self) -> dict[str, tuple[str, Any]]:
        """The ends that were read: (kind of the last event, output or type of failure) by instance."""
        return {
            instance_id: (self.runs[instance_id, run_id][-1].kind, outcome)
            for instance_id, (run_id, outcome) in self._finished.items()
        }

    def _is_behind(self, ends: dict[tuple[str, int], int]) -> bool:
        # By position, not by record: the last offsets may be markers.
        places = self._consumer.position(self._consumer.assignment())
        return all(place.offset >= ends.get((place.topic, place.partition), place.offset) for place in places)

    def summary(self) -> str:
        ended = len(self._finished)
        kinds: dict[str, int] = defaultdict(int)
        for events in self.runs.values():
            kinds[events[-1].kind] += 1
        letters = len(self.dead_letters)
        return f"{len(self.runs)} runs, {ended} ended, last events {dict(kinds)}, {letters} dead letters"

    def _events(self, instance_id: str, kind: str) -> list[Recorded]:
        return [
            event
            for run, events in self.runs.items()
            if run[0] == instance_id
            for event in events
            if event.kind == kind
        ]

    def _in_inbox(self, kind: str, instance_id: str) -> bool:
        return any(
            seen.key == instance_id.encode() and decode(seen.value or b"")[0] == kind for seen in self.inbox
        )

    def _assign(self) -> None:
        if self._assigned:
            return
        names = [f"{self.prefix}.{name}" for name in ("history", "inbox", "deadletter", "replies")]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            topics = self._admin.list_topics(timeout=10).topics
            if all(name in topics for name in names):
                break
            assert time.monotonic() < deadline, f"expected topics {names}, but {sorted(topics)} are there"
        places = [
            TopicPartition(name, partition, OFFSET_BEGINNING)
            for name in names
            for partition in topics[name].partitions
        ]
        self._consumer.assign(places)
        self._assigned = True

    def _take_all(self, messages: list[Any]) -> None:
        for message in messages:
            if self._is_good(message.error()):
                self._take(message)

    def _is_good(self, error: KafkaError | None) -> bool:
        assert error is None, error
        return True

    def _take(self, message: Any) -> None:
        seen = Seen(
            message.topic(),
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key() or b"",
            message.value(),
            dict(message.headers() or ()),
        )
        kind = seen.topic.removeprefix(f"{self.prefix}.")
        if kind == "deadletter":
            self.dead_letters.append(seen)
        elif kind == "inbox":
            self.inbox.append(seen)
        elif kind == "replies":
            self.replies.append(seen)
        else:
            self._take_history(seen)

    # --- history, commit by commit ---

    def _take_history(self, seen: Seen) -> None:
        partition = self.partitions[seen.partition]
        if seen.key != CHECKPOINT_KEY:
            partition.since_checkpoint.append(seen)
            return
        assert seen.value is not None
        kind, body = decode(seen.value)
        assert kind == "Checkpoint"
        records, partition.since_checkpoint = partition.since_checkpoint, []
        if not self.has_gaps:
            # What a commit that was applied late has left is of no commit: nobody takes it in.
            first = len(records) - (body["records"] - 1)
            assert first >= 0, f"a commit of {body['records']} records has but {len(records) + 1}"
            self.torn += first
            records = records[first:]
        for record in records:
            self._take_record(record, partition)
        self._take_checkpoint(body, records, partition)

    def _take_record(self, seen: Seen, partition: Partition) -> None:
        if seen.value is None:
            partition.values.pop(seen.key, None)
            self._forget(seen.key)
            return
        known = partition.values.setdefault(seen.key, seen.value)
        assert known == seen.value, f"{seen.key!r} was written twice, and differently"
        kind, body = decode(seen.value)
        if seen.key.startswith(OUT_PREFIX):
            return
        run = _run_of(seen.key)
        assert (*run, body["sequence"]) == (body["instance_id"], body["run_id"], _sequence_of(seen.key))
        events = self.runs[run]
        if events and body["sequence"] <= events[-1].sequence:
            return  # written again, with the same bytes
        events.append(Recorded(seen.partition, kind, body))
        if kind in TERMINAL - {"InstanceContinuedAsNew"}:
            self._finished[run[0]] = (run[1], _outcome(events[-1]))

    def _take_checkpoint(self, body: Body, records: list[Seen], partition: Partition) -> None:
        last, partition.checkpoint = partition.checkpoint, body
        events = [each for each in records if not each.key.startswith(b"~") and each.value]
        offsets = [decode(each.value or b"")[1]["inbox_offset"] for each in events]
        partition.commits += 1
        assert all(offset <= body["offset"] for offset in offsets), (
            "an event is of a later record than its commit"
        )
        if self.has_gaps:
            return
        # A purge is counted at once, though its tombstones may take several commits.
        going = sum(each["last_sequence"] - each["next_sequence"] + 1 for each in body["purges"])
        assert len(partition.values) == body["key_count"] + going, (
            "the checkpoint counts other records than there are"
        )
        if last is not None:
            assert body["batch"] == last["batch"] + 1, (
                f"commits {last['batch']} and {body['batch']} follow each other"
            )
            assert body["epoch"] in (last["epoch"], last["epoch"] + 1)
            assert body["offset"] >= last["offset"]
            assert body["inbox_topic_id"] == last["inbox_topic_id"]

    def _forget(self, key: bytes) -> None:
        if key.startswith(OUT_PREFIX):
            return
        if _sequence_of(key) != 1:
            return  # the whole run went with its first event
        instance_id, run_id = _run_of(key)
        events = self.runs.pop((instance_id, run_id), None)
        if events is not None:
            self.past[instance_id, run_id] = events
        if self._finished.get(instance_id, ("", None))[0] == run_id:
            del self._finished[instance_id]

    def commits(self) -> int:
        """How many commits there ever were, by the checkpoints' own count."""
        return sum(
            each.checkpoint["batch"] for each in self.partitions.values() if each.checkpoint is not None
        )

    # --- the invariants ---

    def check(self, started: Iterable[str] = ()) -> None:
        """Holds all runs against the invariants. `started`: what was asked for, so must have left a trace."""
        for number, partition in self.partitions.items():
            assert not partition.since_checkpoint, (
                f"records of partition {number} are behind its last checkpoint"
            )
        for run, events in self.runs.items():
            check_run(run, events)
        known = {instance_id for instance_id, _ in self.runs}
        refused = {letter.key.decode("utf-8", "replace") for letter in self.dead_letters}
        lost = set(started) - known - refused
        assert not lost, f"started, but neither in history nor refused: {sorted(lost)[:10]}"
        self._check_continuations()

    def read_until_all_has_arrived(self) -> None:
        """Reads until no message to another instance is on its way, as far as its sender knows.

        That is a commit after the last outcome: a worker stopped before it leaves them to the next.
        """
        self.read_until(lambda: not self._on_their_way(), "every message to have arrived")

    def check_nothing_is_on_its_way(self) -> None:
        """Every message to another instance has arrived: its record is gone."""
        left = self._on_their_way()
        assert not left, f"messages that never arrived: {left[:10]}"

    def _on_their_way(self) -> list[bytes]:
        return [
            key
            for partition in self.partitions.values()
            for key in partition.values
            if key.startswith(OUT_PREFIX)
        ]

    def fold(self) -> dict[str, str]:
        """All runs' events as one comparable value."""
        return {
            "|".join(run): json.dumps(
                [(each.kind, each.body) for each in events], default=repr, sort_keys=True
            )
            for run, events in self.runs.items()
        }

    def _check_continuations(self) -> None:
        for (instance_id, run_id), events in self.runs.items():
            if events[-1].kind != "InstanceContinuedAsNew":
                continue
            after = self.runs.get((instance_id, events[-1].body["new_run_id"]))
            assert after is not None, f"{instance_id} continued, but not in history"
            assert after[0].body["previous_run_id"] == run_id


def _outcome(last: Recorded) -> Any:
    if last.kind == "InstanceFailed":
        return last.body["failure"]["type"]
    if last.kind == "InstanceTerminated":
        return "terminated"
    payload = last.body["output"]
    return None if payload is None else json.loads(payload["data"])


def _run_of(key: bytes) -> Run:
    instance_id, run_id, _ = key.decode().rsplit("|", 2)
    return instance_id, run_id


def _sequence_of(key: bytes) -> int:
    return int(key.rsplit(b"|", 1)[1])
