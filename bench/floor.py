"""Floors: the records of a workload, written to a log of the same kind by nobody but its client library.

Rules
* As many records as the engine writes for the same work, of the same bytes, to topics of the same settings
  and partition count (of an app that no worker runs), and in the same order of dependence: what the engine
  writes only after another record is there, the floor does too. History goes in transactions that end with a
  checkpoint.
* No engine code is on the measured path: no turn, codec, store, ingress, membership or activity.

What each floor is
* `burst`: runs side by side, at most `window` at once. Kafka: each append waits for the acknowledgement of
  the one before it in its run; finished runs of a partition join the next transaction of that partition, on
  two transactional ids in turn, so that groups commit by themselves. Nobody reads. Embedded: the runs of a
  window move in step; each step is one SQLite transaction of that step's rows.
* `round_trips`: one run at a time, each append read back by a consumer before the next begins, then one
  transaction, then its checkpoint seen by a read_committed consumer. Embedded: one transaction and one select
  by another connection for each step.
* `scatter`: many inbox records at one moment, each read back: how late timers would be if appending was all.
* `takeover`: what follows a crash at least. `read_history`: what a restore reads, and nothing made of it.
"""

import itertools
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from bench.links import KafkaPlace, consumer, drain, follow_end, producer
from bench.records import COMMANDS, HISTORY, INBOX, Pair, Script, Step, checkpoint
from engine.codec.topics import CHECKPOINT_KEY
from engine.embedded.database import DATABASE_FILE, INSERT_SIZES, OFFSET_BITS, WAL_PAGES
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin

COMMITTERS = 3
WARM_UP_RUNS = 100
LINGER_MS = 1
POLL_SECONDS = 0.001
TRANSACTION_SECONDS = 30.0
READ_SECONDS = 0.2
READ_ALL_SECONDS = 30.0
TOPICS = (COMMANDS, INBOX, HISTORY)
FLOOR_SUFFIX = "-floor"
FLOOR_FILE = f"floor-{DATABASE_FILE}"


class Floor(ABC):
    """One log without the engine."""

    @abstractmethod
    def burst(self, script: Script, runs: int, window: int) -> dict[str, Any]:
        """Throughput: so many runs of `script`, at most `window` at once."""

    @abstractmethod
    def round_trips(self, script: Script, count: int) -> list[float]:
        """Latency: the seconds of each of so many runs, one at a time."""

    @abstractmethod
    def scatter(self, step: Step, count: int) -> list[float]:
        """So many records to the inbox at one moment: the seconds until each was read back."""

    @abstractmethod
    def takeover(self) -> dict[str, Any]:
        """What no recovery can do without, on what `burst` left.

        Every partition fenced, one commit in each, and all of the history read.
        """

    @abstractmethod
    def read_history(self, partition: int) -> dict[str, Any]:
        """Reads the app's own history of a partition, committed records only, and does nothing with it."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- Kafka ---


class KafkaFloor(Floor):
    """Topics like those of the app, beside them."""

    def __init__(self, place: KafkaPlace) -> None:
        self._app = place
        self._place = KafkaPlace(place.bootstrap_servers, f"{place.app}{FLOOR_SUFFIX}", place.partitions)
        settings = KafkaSettings(
            bootstrap_servers=place.bootstrap_servers,
            app=self._place.app,
            partitions=place.partitions,
            is_dev=True,
        )
        TopicAdmin(settings).apply()
        topics = self._place.topics
        self._names = {COMMANDS: topics.commands, INBOX: topics.inbox, HISTORY: topics.history}
        self._transactions = [_Transactions(self._place, topics.history, p) for p in range(place.partitions)]
        self._producers = {name: producer(self._place, linger_ms=LINGER_MS) for name in (COMMANDS, INBOX)}

    def burst(self, script: Script, runs: int, window: int) -> dict[str, Any]:
        # Connections, metadata and producer ids first: the engine has its own by then, too.
        self._burst(script).run(min(runs, WARM_UP_RUNS), WARM_UP_RUNS)
        burst = self._burst(script)
        seconds = burst.run(runs, window)
        return {"runs": runs, "seconds": round(seconds, 4), "commits": burst.commits}

    def _burst(self, script: Script) -> "_Burst":
        return _Burst(self._producers, self._names, self._transactions, script)

    def round_trips(self, script: Script, count: int) -> list[float]:
        chain = _Chain(self._place, self._names, self._transactions[0])
        try:
            chain.run(script)
            return [chain.run(script) for _ in range(count)]
        finally:
            chain.close()

    def scatter(self, step: Step, count: int) -> list[float]:
        place, name = self._place, self._names[INBOX]
        writer, reader = self._producers[INBOX], consumer(place, committed=False)
        (key, value), seconds = step.records[0], []
        for partition in range(place.partitions):
            writer.produce(name, value, key, partition)
        writer.flush(TRANSACTION_SECONDS)
        follow_end(reader, name, place.partitions)
        drain(reader, READ_SECONDS)
        began = time.perf_counter()
        for number in range(count):
            writer.produce(name, value, key, number % place.partitions)
        while len(seconds) < count:
            found = len(drain(reader, READ_SECONDS))
            seconds += [time.perf_counter() - began] * found
        writer.flush(TRANSACTION_SECONDS)
        reader.close()
        return seconds

    def takeover(self) -> dict[str, Any]:
        began, name, records = time.perf_counter(), self._names[HISTORY], 0
        for partition in range(self._place.partitions):
            _Transactions(self._place, name, partition).commit([])
            records += _read_all(self._place, name, partition)
        return {"seconds": round(time.perf_counter() - began, 4), "records": records}

    def read_history(self, partition: int) -> dict[str, Any]:
        began = time.perf_counter()
        records = _read_all(self._app, self._app.topics.history, partition)
        return {"seconds": round(time.perf_counter() - began, 4), "records": records}

    def close(self) -> None:
        self._transactions.clear()


def _read_all(place: KafkaPlace, topic: str, partition: int) -> int:
    """From the start to the end as it is now; how many records there were."""
    reader, count = consumer(place, committed=True), 0
    at = TopicPartition(topic, partition)
    try:
        at.offset, end = reader.get_watermark_offsets(at, timeout=READ_ALL_SECONDS)
        reader.assign([at])
        # By position: the last offsets are markers, which no consumer is shown.
        while reader.position([at])[0].offset < end:
            count += len(drain(reader, POLL_SECONDS))
    finally:
        reader.close()
    return count


class _Transactions:
    """Two transactional producers of one partition, in turn: no commit waits for the markers of the last."""

    def __init__(self, place: KafkaPlace, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, partition
        self._checkpoint = checkpoint()
        names = (f"{place.app}-{partition}-{which}" for which in "xy")
        self._producers = [producer(place, transactional_id=name, retry_backoff_ms=1) for name in names]
        for each in self._producers:
            each.list_topics(topic, TRANSACTION_SECONDS)
            each.init_transactions(TRANSACTION_SECONDS)

    def commit(self, records: list[Pair]) -> None:
        self._producers.reverse()
        writer = self._producers[0]
        writer.begin_transaction()
        for key, value in records:
            writer.produce(self._topic, value, key, self._partition)
        writer.produce(self._topic, self._checkpoint, CHECKPOINT_KEY, self._partition)
        writer.commit_transaction(TRANSACTION_SECONDS)


class _Burst:
    """Runs side by side. The calling thread appends; the committers commit groups of finished runs."""

    def __init__(
        self,
        producers: dict[str, Producer],
        names: dict[str, str],
        transactions: list[_Transactions],
        script: Script,
    ) -> None:
        self._steps = script.steps
        self._names = names
        self._transactions = transactions
        self._producers = producers
        self._groups: list[deque[int]] = [deque() for _ in transactions]
        self._is_committing = [False] * len(transactions)
        self._left: dict[int, int] = {}
        self._at: dict[int, int] = {}
        self._lock = threading.Lock()
        # Runs whose step is done, as the committers say; only the calling thread moves runs on.
        self._ready: deque[int] = deque()
        self._failure: BaseException | None = None
        self.commits = 0

    def run(self, runs: int, window: int) -> float:
        began = time.perf_counter()
        numbers, done = iter(range(runs)), 0
        with ThreadPoolExecutor(COMMITTERS) as self._pool:
            while done < runs:
                for number in itertools.islice(numbers, max(0, window - len(self._at))):
                    self._at[number] = -1
                    self._advance(number)
                for each in self._producers.values():
                    each.poll(0)
                while self._ready:
                    done += self._advance(self._ready.popleft())
                if self._failure is not None:
                    raise self._failure
                self._producers[INBOX].poll(POLL_SECONDS)
        return time.perf_counter() - began

    def _advance(self, number: int) -> bool:
        """Begins the next step of a run. True where there is none."""
        at = self._at[number] + 1
        if at == len(self._steps):
            del self._at[number]
            return True
        self._at[number] = at
        step = self._steps[at]
        if step.topic == HISTORY:
            self._join(number)
        else:
            self._append(number, step)
        return False

    def _append(self, number: int, step: Step) -> None:
        self._left[number] = len(step.records)
        produce, topic = self._producers[step.topic].produce, self._names[step.topic]
        partition = -1 if step.topic == COMMANDS else number % len(self._transactions)
        on_delivery, headers = partial(self._delivered, number), list(step.headers) or None
        for key, value in step.records:
            while True:
                try:
                    produce(topic, value, key, partition, on_delivery, headers=headers)
                except BufferError:
                    self._producers[step.topic].poll(POLL_SECONDS)
                else:
                    break

    def _delivered(self, number: int, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failure = KafkaException(error)
        self._left[number] -= 1
        if not self._left[number]:
            self._ready.append(number)

    def _join(self, number: int) -> None:
        partition = number % len(self._transactions)
        with self._lock:
            self._groups[partition].append(number)
            if self._is_committing[partition]:
                return
            self._is_committing[partition] = True
        self._pool.submit(self._commit, partition)

    def _commit(self, partition: int) -> None:
        try:
            while True:
                with self._lock:
                    numbers, self._groups[partition] = self._groups[partition], deque()
                    if not numbers:
                        self._is_committing[partition] = False
                        return
                steps = (self._steps[self._at[number]] for number in numbers)
                self._transactions[partition].commit([record for step in steps for record in step.records])
                self.commits += 1
                self._ready.extend(numbers)
        except BaseException as problem:
            self._failure = problem


class _Chain:
    """One run at a time; each step is read back before the next."""

    def __init__(self, place: KafkaPlace, names: dict[str, str], transactions: _Transactions) -> None:
        self._names = names
        self._transactions = transactions
        self._producer = producer(place)
        self._readers: dict[str, Consumer] = {}
        for topic, name in names.items():
            reader = self._readers[topic] = consumer(place, committed=topic != INBOX)
            partitions = len(reader.list_topics(name, 30).topics[name].partitions)
            follow_end(reader, name, partitions)

    def run(self, script: Script) -> float:
        began = time.perf_counter()
        for step in script.steps:
            count = len(step.records)
            if step.topic == HISTORY:
                self._transactions.commit(list(step.records))
                count += 1
            else:
                self._append(step)
            reader = self._readers[step.topic]
            while count > 0:
                count -= len(drain(reader, READ_SECONDS))
        return time.perf_counter() - began

    def _append(self, step: Step) -> None:
        headers = list(step.headers) or None
        partition = -1 if step.topic == COMMANDS else 0
        for key, value in step.records:
            self._producer.produce(self._names[step.topic], value, key, partition, headers=headers)
        self._producer.poll(0)

    def close(self) -> None:
        self._producer.flush(TRANSACTION_SECONDS)
        for reader in self._readers.values():
            reader.close()


# --- embedded ---

_INSERTS = {
    (topic, size): f"INSERT INTO {topic} VALUES " + ",".join(["(?,?,?,?,?)"] * size)
    for topic in TOPICS
    for size in INSERT_SIZES
}


class EmbeddedFloor(Floor):
    """A SQLite file like the log's, beside it: the same tables, pragmas and multi-row inserts."""

    def __init__(self, directory: Path, log: Path) -> None:
        """`log` is where the app's own log is."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._path = directory / FLOOR_FILE
        self._writer = self._connect()
        for topic in TOPICS:
            self._writer.execute(
                f"CREATE TABLE IF NOT EXISTS {topic} (place INTEGER PRIMARY KEY,"
                " timestamp_ms INTEGER NOT NULL, key BLOB NOT NULL, value BLOB, headers BLOB)"
            )
        self._reader = self._connect()
        self._next = dict.fromkeys(TOPICS, 0)
        self._checkpoint = (CHECKPOINT_KEY, checkpoint())

    def burst(self, script: Script, runs: int, window: int) -> dict[str, Any]:
        began, commits = time.perf_counter(), 0
        for first in range(0, runs, window):
            count = min(window, runs - first)
            for step in script.steps:
                self._write(step, count)
                commits += 1
        return {"runs": runs, "seconds": round(time.perf_counter() - began, 4), "commits": commits}

    def round_trips(self, script: Script, count: int) -> list[float]:
        return [self._round_trip(script) for _ in range(count)]

    def scatter(self, step: Step, count: int) -> list[float]:
        position, began, seconds = self._next[INBOX], time.perf_counter(), []
        self._write(step, count)
        while len(seconds) < count:
            found = self._select(INBOX, position + len(seconds))
            seconds += [time.perf_counter() - began] * found
        return seconds

    def takeover(self) -> dict[str, Any]:
        began = time.perf_counter()
        self._write(Step(HISTORY, ()), 1)
        records = self._select(HISTORY, 0)
        return {"seconds": round(time.perf_counter() - began, 4), "records": records}

    def read_history(self, partition: int) -> dict[str, Any]:
        began, log = time.perf_counter(), sqlite3.connect(self._log / DATABASE_FILE)
        bounds = (partition << OFFSET_BITS, (partition + 1) << OFFSET_BITS)
        rows = log.execute("SELECT * FROM history WHERE place >= ? AND place < ?", bounds)
        records = sum(1 for _ in rows)
        log.close()
        return {"seconds": round(time.perf_counter() - began, 4), "records": records}

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _select(self, topic: str, position: int) -> int:
        statement = f"SELECT * FROM {topic} WHERE place >= ? ORDER BY place"
        return len(self._reader.execute(statement, (position,)).fetchall())

    def _round_trip(self, script: Script) -> float:
        began = time.perf_counter()
        for step in script.steps:
            position = self._next[step.topic]
            self._write(step, 1)
            found = self._select(step.topic, position)
            assert found == self._next[step.topic] - position, "what was committed can't be read"
        return time.perf_counter() - began

    def _write(self, step: Step, times: int) -> None:
        records = list(step.records) * times
        if step.topic == HISTORY:
            records.append(self._checkpoint)
        headers = step.headers[0][1] if step.headers else None
        self._writer.execute("BEGIN IMMEDIATE")
        while records:
            size = next(size for size in INSERT_SIZES if size <= len(records))
            self._insert(step.topic, records[-size:], headers)
            del records[-size:]
        self._writer.execute("COMMIT")

    def _insert(self, topic: str, records: list[Pair], headers: bytes | None) -> None:
        place, now_ms = self._next[topic], time.time_ns() // 1_000_000
        values: list[Any] = []
        for number, (key, value) in enumerate(records):
            values += (place + number, now_ms, key, value, headers)
        self._writer.execute(_INSERTS[topic, len(records)], values)
        self._next[topic] = place + len(records)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"wal_autocheckpoint={WAL_PAGES}"):
            connection.execute(f"PRAGMA {pragma}")
        return connection
