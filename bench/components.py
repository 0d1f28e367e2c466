"""The components of the engine, each driven alone over records made in advance.

What makes the records, and what stands in for the neighbours of a component, isn't counted.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from bench import flows
from bench.counting import counting
from bench.links import KafkaPlace, consumer, drain, producer
from bench.records import HISTORY, INBOX, TOPIC_ID, Pair, script_of
from engine.client.fold import Fold
from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, FROM_HEADER, IngressSource, format_source
from engine.core.decide import Seat
from engine.core.turn import Moment, take_turn
from engine.core.values import decode_value, encode_value
from engine.kafka.reader import record_of
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model.ids import run_id_of_start
from engine.node.loop import SystemClock
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.ingress import Ingress
from engine.partition.owner import Owner
from engine.partition.ports import Append, Appended, Claim, Commit, Committed, Identity, Record, Store
from engine.store.memory import MemoryStore
from engine.store.rocks import open_store

NOW_MS = 1_790_000_000_000
BATCH = 500
ACTIVITIES = 3
TURNS = ACTIVITIES + 1
EVENTS = 2 * ACTIVITIES + 2
PARTITION = 0
SEND_SECONDS = 60.0

# (what, for each of what, how many of them, CPU seconds)
Measured = tuple[str, str, int, float]
Watches = Callable[[], Any]


def starts(count: int) -> list[cm.StartInstance]:
    """Commands that start chains."""
    payload = encode_value(1, "an input")
    return [
        cm.StartInstance(instance_id=f"profile-{number:08d}", workflow="chain", input=payload)
        for number in range(count)
    ]


def completion(call: ef.RunActivity) -> cm.CompleteActivity:
    """What the activity pool would append."""
    value = flows.app.registry.activities[call.name].function(None, decode_value(call.input))
    return cm.CompleteActivity(
        instance_id=call.instance_id,
        run_id=call.run_id,
        scheduled=call.scheduled,
        call_id=call.call_id,
        attempt=call.attempt,
        result=encode_value(value, "a result"),
    )


# --- codec ---


def codec(watches: Watches, runs: int) -> Iterator[Measured]:
    """Every record of a chain, encoded and decoded."""
    script = script_of("chain", 1)
    inbox = [value for step in script.steps if step.topic == INBOX for _, value in step.records]
    history = [value for step in script.steps if step.topic == HISTORY for _, value in step.records]
    commands = [avro.decode_command(value) for value in inbox]
    events = [avro.decode_event(value) for value in history]
    cases: list[tuple[str, str, int, Callable[[], Any]]] = [
        ("codec: decode", "inbox record", len(inbox), lambda: [avro.decode_command(v) for v in inbox]),
        ("codec: encode", "inbox record", len(inbox), lambda: [avro.encode_command(c) for c in commands]),
        ("codec: decode", "event", len(history), lambda: [avro.decode_event(v) for v in history]),
        ("codec: encode", "event", len(history), lambda: [avro.encode_event(*e) for e in events]),
        (
            "codec: decode and validate",
            "command",
            1,
            lambda: avro.decode_public_command(inbox[0], None),
        ),
    ]
    for what, per, count, work in cases:
        watch = watches()
        with watch.running():
            for _ in range(runs):
                work()
        yield what, per, count * runs, watch.seconds


# --- core ---


def core(watches: Watches, runs: int) -> Iterator[Measured]:
    """Turns without codec, batch and log."""
    watch = watches()
    seats = {command.instance_id: Seat(instance_id=command.instance_id) for command in starts(runs)}
    commands: list[Any] = list(starts(runs))
    offset = 0
    while commands:
        work = []
        for command in commands:
            offset += 1
            run_id = run_id_of_start(TOPIC_ID, PARTITION, offset, NOW_MS)
            moment = Moment(offset=offset, timestamp_ms=NOW_MS, new_run_id=run_id, record=b"")
            work.append((seats[command.instance_id], command, moment))
        commands = []
        for first in range(0, len(work), BATCH):
            # In batches: a growing heap of turns would be the collector's work, not the core's.
            with watch.running():
                turns = [take_turn(*each, flows.app.registry) for each in work[first : first + BATCH]]
            effects = [effect for turn in turns for effect in turn.effects]
            commands += [completion(effect) for effect in effects if isinstance(effect, ef.RunActivity)]
    yield "core: take_turn, pure", "turn", TURNS * runs, watch.seconds


# --- owner ---


class _Log:
    """Commits at once and appends nowhere: what is left is the owner."""

    def __init__(self) -> None:
        self.identity = Identity(TOPIC_ID, TOPIC_ID, TOPIC_ID, 1)
        self.pending: list[Commit] = []
        self.position = 0

    def read_history(self, *_: object) -> Iterator[list[Record]]:
        return iter(())

    def begin_commit(self, _: Claim, commit: Commit) -> None:
        self.pending.append(commit)
        self.position += len(commit.records) + 2

    def __getattr__(self, name: str) -> Callable[..., None]:
        # Everything else is told the log, and not asked.
        return lambda *_: None


def owner_in_memory(watches: Watches, runs: int) -> Iterator[Measured]:
    """A partition's owner from inbox bytes to commits, its store in memory."""
    watch = watches()
    _drive_owner(watch, MemoryStore(), runs)
    yield "owner: process and commit, store in memory", "turn", TURNS * runs, watch.seconds


def owner(watches: Watches, runs: int) -> Iterator[Measured]:
    """The same with its RocksDB."""
    watch = watches()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "partition", TOPIC_ID, PARTITION)
        _drive_owner(watch, store, runs)
        store.close()
    yield "owner: process and commit, RocksDB", "turn", TURNS * runs, watch.seconds


def _drive_owner(watch: Any, store: Store, runs: int) -> None:
    log, calls = _Log(), []
    context = OwnerContext(
        registry=flows.app.registry,
        settings=OwnerSettings(commit_interval_ms=0),
        run_activity=lambda call, *_: calls.append(call),
        exam=Exam(),
    )
    claim = Claim(PARTITION, 1, 0, 0, 0, 0)
    subject = Owner(claim, log, store, SystemClock(), context)  # type: ignore[arg-type]
    subject.open(NOW_MS)
    subject.start()
    _commit(log, subject)
    offset, commands = 0, list[Any](starts(runs))
    while commands:
        records = []
        for command in commands:
            source = IngressSource(TOPIC_ID, 0, offset, offset - 1 if offset else None)
            is_start = isinstance(command, cm.StartInstance)
            headers = ((FROM_HEADER, format_source(source)),) if is_start else ()
            value = avro.encode_command(command)
            key = command.instance_id.encode()
            records.append(Record(PARTITION, offset, NOW_MS, key, value, headers))
            offset += 1
        calls.clear()
        for first in range(0, len(records), BATCH):
            with watch.running():
                subject.process(records[first : first + BATCH])
                subject.tick()
                _commit(log, subject)
        commands = [completion(call) for call in calls]


def _commit(log: _Log, subject: Owner) -> None:
    while log.pending:
        log.pending.pop()
        subject.on_commit_result(Committed(log.position, NOW_MS), NOW_MS)


# --- ingress ---


class _Source:
    """Commands in memory."""

    topic_id = TOPIC_ID

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    is_beginning = False

    def assignment(self) -> dict[int, int]:
        return {0: 1}

    def poll(self, _: int) -> list[Record]:
        found, self._records = self._records[:BATCH], self._records[BATCH:]
        return found

    def commit(self, _: dict[int, int]) -> None: ...

    def restart(self) -> None: ...


class _Appender:
    """Acknowledges at the next `deliver`."""

    def __init__(self) -> None:
        self.appended = -1
        self._waiting: list[Callable[[Appended], None]] = []

    def append(self, _: Append, on_done: Callable[[Appended], None]) -> None:
        self._waiting.append(on_done)

    def deliver(self) -> None:
        for on_done in self._waiting:
            self.appended += 1
            on_done(Appended(self.appended, NOW_MS))
        self._waiting = []

    def close(self) -> None: ...


def ingress(watches: Watches, runs: int) -> Iterator[Measured]:
    """Commands to inbox appends, without the appends."""
    records = [
        Record(0, number, NOW_MS, command.instance_id.encode(), avro.encode_command(command))
        for number, command in enumerate(starts(runs))
    ]
    appender, watch = _Appender(), watches()
    subject = Ingress(_Source(records), appender, lambda _: (appender.appended + 1, True), SystemClock(), 1)
    with watch.running():
        while subject.forwarded < runs:
            subject.tick(0)
    yield "ingress: forward", "command", runs, watch.seconds


# --- client ---


def client(watches: Watches, runs: int) -> Iterator[Measured]:
    """What a client makes of a start and of the history that it reads back."""
    watch = watches()
    payload = encode_value(1, "an input")
    with watch.running():
        for number in range(runs):
            command = cm.StartInstance(instance_id=f"profile-{number}", workflow="chain", input=payload)
            avro.validate_command(command)
            avro.encode_command(command)
    yield "client: make a start", "start", runs, watch.seconds
    script = script_of("chain", 1)
    history = [record for step in script.steps if step.topic == HISTORY for record in step.records]
    records = [Record(0, number, NOW_MS, *each) for number, each in enumerate(history)]
    watch = watches()
    with watch.running():
        for _ in range(runs):
            fold = Fold("floor-00000000")
            for record in records:
                fold.add(record)
            fold.shown()
    yield "client: fold a run's history", "event", EVENTS * runs, watch.seconds


# --- Kafka's client library, as the engine uses it ---


def produce(watches: Watches, place: KafkaPlace, runs: int) -> Iterator[Measured]:
    """Appends with acks=all: many at once, and each waited for."""
    _make_topics(place)
    records, topic = _inbox_records(runs), place.topics.inbox
    watch, writer = watches(), producer(place, linger_ms=1)
    delivered: list[object] = []
    with watch.running():
        for key, value in records:
            writer.produce(topic, value, key, PARTITION, lambda error, _: delivered.append(error))
        writer.flush(SEND_SECONDS)
    assert len(delivered) == len(records)
    yield "librdkafka: produce and delivery, in batches", "record", len(records), watch.seconds
    watch, writer = watches(), producer(place)
    lone = records[: max(1, len(records) // 20)]
    with watch.running():
        for key, value in lone:
            writer.produce(topic, value, key, PARTITION, lambda error, _: delivered.append(error))
            writer.flush(SEND_SECONDS)
    yield "librdkafka: produce and delivery, one by one", "record", len(lone), watch.seconds


def poll(watches: Watches, place: KafkaPlace, runs: int) -> Iterator[Measured]:
    """A filled inbox drained by a consumer, to the port's records."""
    _make_topics(place)
    records, writer = _inbox_records(runs), producer(place, linger_ms=1)
    for key, value in records:
        writer.produce(place.topics.inbox, value, key, PARTITION)
    writer.flush(SEND_SECONDS)
    watch, reader, count = watches(), consumer(place, committed=False), 0
    reader.assign([TopicPartition(place.topics.inbox, PARTITION, 0)])
    with watch.running():
        while count < len(records):
            count += len([record_of(message) for message in drain(reader, 0.1)])
    reader.close()
    yield "librdkafka: poll a filled topic", "record", count, watch.seconds


def commit(watches: Watches, place: KafkaPlace, runs: int) -> Iterator[Measured]:
    """Transactions: of one run's events, and of a hundred runs'."""
    _make_topics(place)
    script = script_of("chain", 1)
    events: list[Pair] = [record for step in script.steps if step.topic == HISTORY for record in step.records]
    writer = producer(place, transactional_id="profile", retry_backoff_ms=1)
    writer.init_transactions(SEND_SECONDS)
    for size in (1, 100):
        watch, times = watches(), max(3, runs // (20 * size))
        with watch.running():
            for _ in range(times):
                writer.begin_transaction()
                for key, value in events * size:
                    writer.produce(place.topics.history, value, key, PARTITION)
                writer.produce(place.topics.history, b"checkpoint" * 20, CHECKPOINT_KEY, PARTITION)
                writer.commit_transaction(SEND_SECONDS)
        yield f"librdkafka: commit of {size * EVENTS} events", "commit", times, watch.seconds


def _inbox_records(runs: int) -> list[Pair]:
    script = script_of("chain", 1)
    return [record for step in script.steps if step.topic == INBOX for record in step.records] * runs


def _make_topics(place: KafkaPlace) -> None:
    TopicAdmin(
        KafkaSettings(
            bootstrap_servers=place.bootstrap_servers,
            app=place.app,
            partitions=place.partitions,
            is_dev=True,
        )
    ).apply()


COMPONENTS: dict[str, Callable[[Watches, int], Iterator[Measured]]] = {
    "codec": codec,
    "core": core,
    "owner_in_memory": owner_in_memory,
    "owner": owner,
    "ingress": ingress,
    "client": client,
    "counting": counting,
}
KAFKA_COMPONENTS: dict[str, Callable[[Watches, KafkaPlace, int], Iterator[Measured]]] = {
    "produce": produce,
    "poll": poll,
    "commit": commit,
}
