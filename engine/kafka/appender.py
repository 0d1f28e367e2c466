"""Appends to the inbox by an idempotent producer: in order, acknowledged by all replicas, at once."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from engine.kafka.clients import CLIENTS, WatchedProducer
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Append, Appended

log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
RETRY_SECONDS = 0.1
DELIVER_SECONDS = 0.05
CLOSE_SECONDS = 0.0003
CROWD_RECORDS = 32
CROWD_SECONDS = 0.025
BATCH_LINGER_MS = 1.0
HEAR_SECONDS = 1.0


def appending_producer(
    settings: KafkaSettings, topic: str, *, only_errors: bool, linger_ms: float = 0
) -> WatchedProducer:
    """A producer that waits for nothing but the acknowledgement, or a little for company."""
    return CLIENTS.producer(
        settings,
        topic,
        enable_idempotence=True,
        acks="all",
        linger_ms=linger_ms,
        retry_backoff_ms=10,
        delivery_timeout_ms=30_000,
        message_max_bytes=1_500_000,
        queue_buffering_max_messages=200_000,
        delivery_report_only_error=only_errors,
    )


class Crowd:
    """Whether records come so often that one more will not be alone. Any thread."""

    def __init__(self) -> None:
        self._times = deque([0.0] * CROWD_RECORDS, CROWD_RECORDS)

    def joined(self, now: float) -> bool:
        """One more comes now, in seconds of the monotonic clock. Whether it has company."""
        times = self._times
        times.append(now)
        return now - times[0] < CROWD_SECONDS


class KafkaAppender:
    """Appends whose outcome somebody wants to know. One thread.

    In a crowd records wait a millisecond for company. Without that the first would go alone and the next as
    they come, until so many requests are under way that librdkafka asks in a loop, on a core of its own,
    whether it may send one more.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._lone = appending_producer(settings, topic, only_errors=False)
        self._batching = appending_producer(settings, topic, only_errors=False, linger_ms=BATCH_LINGER_MS)
        self._producer = self._lone
        self._crowd = Crowd()
        self._heard_at = 0.0

    def append(self, record: Append, on_done: Callable[[Appended], None]) -> None:
        """Sends; the outcome comes by `deliver`."""
        wanted = self._batching if self._crowd.joined(time.monotonic()) else self._lone
        # The order of appends is a promise, and two producers keep none: one ends before the other begins.
        if wanted is not self._producer and not len(self._producer):
            self._producer = wanted
        produce(self._producer, self._topic, record, partial(_delivered, on_done))

    def deliver(self) -> None:
        """Runs the callbacks that are due."""
        # A poll gives up the interpreter's lock, and where threads are busy it takes long to have it back.
        if len(self._producer):
            self._producer.poll(0)
        now = time.monotonic()
        if now - self._heard_at >= HEAR_SECONDS:
            # What they tell of themselves would pile up.
            self._heard_at = now
            self._lone.poll(0)
            self._batching.poll(0)

    def close(self) -> None:
        """Waits, briefly, for what is on its way."""
        self._producer.flush(FLUSH_SECONDS)


class ResultAppender:
    """Appends that are retried without limit and whose success is of no interest. Any thread.

    A lone record goes at once. One that follows another closely, or comes in a crowd, joins a batch: under
    load that costs a millisecond where records queue anyway, and spares client and broker a request for each.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._lone = appending_producer(settings, topic, only_errors=True)
        self._batching = appending_producer(settings, topic, only_errors=True, linger_ms=BATCH_LINGER_MS)
        self._crowd = Crowd()
        self._is_closed = False
        self._delivered_at = 0.0
        self._appended_at = 0.0

    def append(self, record: Append) -> None:
        """Sends, and sends again for as long as it takes."""
        now = time.monotonic()
        has_company = self._crowd.joined(now) or now - self._appended_at < CLOSE_SECONDS
        self._appended_at = now
        producer = self._batching if has_company else self._lone
        # Not bound to its record: what failed says itself what it was, and nearly nothing fails.
        produce(producer, self._topic, record, self._failed)

    def deliver(self) -> None:
        """Runs the callbacks that are due: only failures have any, and those can wait a moment."""
        now = time.monotonic()
        if now - self._delivered_at >= DELIVER_SECONDS:
            self._delivered_at = now
            self._lone.poll(0)
            self._batching.poll(0)

    def close(self) -> None:
        """Waits, briefly, for what is on its way."""
        self._is_closed = True
        self._lone.flush(FLUSH_SECONDS)
        self._batching.flush(FLUSH_SECONDS)

    def _failed(self, error: KafkaError | None, message: Message) -> None:
        if error is None or self._is_closed:
            return
        record = append_of(message)
        log.warning("append to %s/%d failed, trying again: %s", self._topic, record.partition, error)
        timer = threading.Timer(RETRY_SECONDS, self.append, (record,))
        timer.daemon = True
        timer.start()


def produce(
    producer: Producer, topic: str, record: Append, on_delivery: Callable[[KafkaError | None, Message], None]
) -> None:
    """Produces, waiting while the producer's queue is full: back-pressure, not an error."""
    while True:
        try:
            producer.produce(
                topic,
                record.value,
                record.key,
                record.partition,
                on_delivery,
                headers=list(record.headers) or None,
            )
        except BufferError:
            producer.poll(0.05)
        else:
            return


def append_of(message: Message) -> Append:
    """What was to be appended, from the report that it was not."""
    found: Any = message.headers() or ()
    headers = tuple((name, value or b"") for name, value in found)
    return Append(message.partition() or 0, message.key() or b"", message.value() or b"", headers)


def _delivered(on_done: Callable[[Appended], None], error: KafkaError | None, message: Message) -> None:
    offset = message.offset()
    if error is not None or offset is None or offset < 0:
        why = error or "it was repeated, and nobody knows where it is"
        log.warning("append to %s/%d failed: %s", message.topic(), message.partition(), why)
        on_done(Appended(-1, 0))
    else:
        on_done(Appended(offset, message.timestamp()[1]))
