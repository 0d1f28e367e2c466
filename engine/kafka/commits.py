"""Transactions of one claim.

Two transactional ids used strictly in turn, which hides the broker's marker writing.

Nothing is ever retried on a producer whose commit had an unknown outcome: librdkafka may still deliver it
later.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engine.codec.topics import CHECKPOINT_KEY, out_key, replies_partition
from engine.errors import FencedFault, LogUnavailableFault
from engine.kafka.errors import error_of, fault_of
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Commit, CommitResult, Committed, Doubt, Fenced

# A tombstone over a message that never was, for numbers begin at 1: nobody misses it.
NO_MESSAGE_KEY = out_key("none", 0, 0)
# Above what the engine writes (900,000 bytes of value) and below what the topics take.
MESSAGE_BYTES_MAX = 1_000_000
FENCE_QUICKLY_SECONDS = 0.06
FENCE_QUICK_TRIES = 5
_TROUBLE = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.REQUEST_TIMED_OUT,
    }
)


class CommitTopics(msgspec.Struct, frozen=True):
    """Where commits go."""

    history: str
    deadletter: str
    replies: str
    replies_partitions: int


class Transactions:
    """The transactional producers of one claim. Any one thread at a time.

    A commit is `begin`, then `finish`; after a result that is not Committed neither is called again.
    """

    def __init__(self, settings: KafkaSettings, topics: CommitTopics, partition: int, id_prefix: str) -> None:
        self._settings = settings
        self._topics = topics
        self._partition = partition
        self._turn = 0
        # Of the next commit: how many of its records are handed over, and what came of that.
        self._opened = 0
        self._problem: CommitResult | None = None
        self._trouble = threading.Event()
        self._checkpoint: tuple[int, int] | None = None
        self._ids = [f"{id_prefix}-{partition}-{which}" for which in "xy"]
        self._producers = [self._producer(each) for each in self._ids]

    def fence(self) -> None:
        """Fences every earlier claim: first X, then Y, always.

        Raises LogUnavailableFault or ConfigurationError.
        """
        for which in range(len(self._ids)):
            # Where the last owner left a transaction open the first request only has it ended, and librdkafka
            # asks again after half a second. A new client asks at once; the old one must be gone by then, or
            # its next request would fence it.
            if not any(self._is_quickly_fenced(which) for _ in range(FENCE_QUICK_TRIES)):
                self._fence(which, self._settings.request_timeout_ms / 1000)

    def _is_quickly_fenced(self, which: int) -> bool:
        """Whether a short try did it; else another producer stands ready, and nothing is left of the last."""
        try:
            self._fence(which, FENCE_QUICKLY_SECONDS)
        except LogUnavailableFault:
            del self._producers[which]
            self._producers.insert(which, self._producer(self._ids[which]))
            return False
        return True

    def _fence(self, which: int, seconds: float) -> None:
        producer = self._producers[which]
        try:
            # Connected first: the first try of an unconnected one fails and waits half a second.
            producer.list_topics(self._topics.history, self._settings.request_timeout_ms / 1000)
            producer.init_transactions(seconds)
        except KafkaException as problem:
            raise fault_of(problem, f"fence partition {self._partition}") from problem

    def end_what_hangs(self) -> None:
        """Commits what Kafka holds open for our ids, though it takes it for ended.

        Where a partition has no leader for a moment, Kafka 4 skips the marker that would end a transaction in
        it (KAFKA-20734), and all that is behind hides for ever. The fence doesn't help, for the coordinator
        knows of nothing open; but the next marker of the same id ends it, whatever it was to be. To commit is
        always right: what was committed must be, and what was to be aborted is either the last owner's last
        commit, if it is whole, or torn, which a claim mends.
        """
        timeout = self._settings.commit_timeout_ms / 1000
        for producer in self._producers:
            try:
                producer.begin_transaction()
                producer.produce(self._topics.history, None, NO_MESSAGE_KEY, self._partition)
                producer.commit_transaction(timeout)
            except KafkaException as problem:
                doing = f"end what hangs in partition {self._partition}"
                raise fault_of(problem, doing) from problem

    def open(self, ahead: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Begins the next commit with its first records; does not wait for the log.

        For librdkafka waits a millisecond before it registers the partition, and has all that was produced
        wait for that: half of what a small commit takes.
        """
        self._opened = len(ahead)
        self._problem = self._guarded(lambda producer: self._open(producer, ahead))

    def _open(self, producer: Producer, ahead: Sequence[tuple[bytes, bytes | None]]) -> None:
        self._trouble.clear()
        self._checkpoint = None
        producer.begin_transaction()
        for key, value in ahead:
            producer.produce(self._topics.history, value, key, self._partition)

    def begin(self, commit: Commit) -> CommitResult | None:
        """Begins one commit, or goes on with the one that was opened, and hands over its records.

        Does not wait for the log. A result is its end.
        """
        if not self._opened:
            self.open(())
        opened, self._opened = self._opened, 0
        return self._problem or self._guarded(lambda producer: self._produce(producer, commit, opened))

    def _guarded(self, act: Callable[[Producer], None]) -> CommitResult | None:
        try:
            act(self._producers[self._turn])
        except KafkaException as problem:
            return self._failed(problem)
        except (BufferError, SystemError) as problem:
            return Doubt(f"commit of partition {self._partition}: {problem}")
        return None

    def finish(self) -> CommitResult:
        """Waits for the outcome of the commit that was begun."""
        producer = self._producers[self._turn]
        self._turn ^= 1
        try:
            producer.commit_transaction(self._settings.commit_timeout_ms / 1000)
            producer.poll(0)
        except KafkaException as problem:
            return self._failed(problem)
        except SystemError as problem:
            # How this client reports a fenced producer that is flushed.
            return Doubt(f"commit of partition {self._partition}: {problem}")
        if self._trouble.is_set() or self._checkpoint is None:
            return Doubt(
                f"commit of partition {self._partition} returned, but a request of it had to be repeated"
            )
        offset, timestamp_ms = self._checkpoint
        return Committed(offset + 1, timestamp_ms)

    def _failed(self, problem: KafkaException) -> CommitResult:
        fault = fault_of(problem, f"commit of partition {self._partition}")
        return Fenced(str(fault)) if isinstance(fault, FencedFault) else Doubt(str(fault))

    def close(self) -> None:
        """Lets go. An open transaction is the next claim's to abort."""
        self._producers.clear()

    def _produce(self, producer: Producer, commit: Commit, opened: int) -> None:
        produce, topic, partition = producer.produce, self._topics.history, self._partition
        for count, (key, value) in enumerate(islice(commit.records, opened, None), 1):
            produce(topic, value, key, partition)
            if count % 10_000 == 0:
                producer.poll(0)
        for letter in commit.dead_letters:
            produce(self._topics.deadletter, letter.value, letter.key, headers=list(letter.headers))
        for reply in commit.replies:
            place = replies_partition(reply.requester, self._topics.replies_partitions)
            produce(self._topics.replies, reply.value, reply.key, place)
        produce(topic, commit.checkpoint, CHECKPOINT_KEY, partition, on_delivery=self._delivered)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        # An answer to a request that was repeated may not say where the first one's record is: then it is as
        # good as none.
        if error is None and offset is not None and offset >= 0:
            self._checkpoint = (offset, message.timestamp()[1])

    def _on_error(self, error: KafkaError) -> None:
        if error_of(error).code() in _TROUBLE:
            self._trouble.set()

    def _producer(self, transactional_id: str) -> Producer:
        settings = self._settings
        return Producer(
            settings.client(
                transactional_id=transactional_id,
                enable_idempotence=True,
                acks="all",
                transaction_timeout_ms=settings.transaction_timeout_ms,
                linger_ms=0,
                retry_backoff_ms=1,
                message_max_bytes=MESSAGE_BYTES_MAX,
                queue_buffering_max_messages=500_000,
                queue_buffering_max_kbytes=512_000,
                error_cb=self._on_error,
            )
        )
