"""Appends to the inbox by an idempotent producer: in order, acknowledged by all replicas, at once."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Append, Appended

log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
RETRY_SECONDS = 0.1
DELIVER_SECONDS = 0.05
COMPANY_SECONDS = 0.0003
BATCH_LINGER_MS = 1.0


def appending_producer(settings: KafkaSettings, *, only_errors: bool, linger_ms: float = 0) -> Producer:
    """A producer that waits for nothing but the acknowledgement, or a little for company."""
    return Producer(
        settings.client(
            enable_idempotence=True,
            acks="all",
            linger_ms=linger_ms,
            retry_backoff_ms=10,
            delivery_timeout_ms=30_000,
            message_max_bytes=1_500_000,
            queue_buffering_max_messages=200_000,
            delivery_report_only_error=only_errors,
        )
    )


class KafkaAppender:
    """Appends whose outcome somebody wants to know. One thread."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._producer = appending_producer(settings, only_errors=False)

    def append(self, record: Append, on_done: Callable[[Appended], None]) -> None:
        """Sends; the outcome comes by `deliver`."""
        produce(self._producer, self._topic, record, partial(_delivered, on_done))

    def deliver(self) -> None:
        """Runs the callbacks that are due."""
        # A poll gives up the interpreter's lock, and where threads are busy it takes long to have it back.
        if len(self._producer):
            self._producer.poll(0)

    def close(self) -> None:
        """Waits, briefly, for what is on its way."""
        self._producer.flush(FLUSH_SECONDS)


class ResultAppender:
    """Appends that are retried without limit and whose success is of no interest. Any thread.

    A lone record goes at once. One that follows another closely joins a batch: under load that costs a
    millisecond where records queue anyway, and spares client and broker a request for each.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._lone = appending_producer(settings, only_errors=True)
        self._batching = appending_producer(settings, only_errors=True, linger_ms=BATCH_LINGER_MS)
        self._is_closed = False
        self._delivered_at = 0.0
        self._appended_at = 0.0

    def append(self, record: Append) -> None:
        """Sends, and sends again for as long as it takes."""
        now = time.monotonic()
        producer = self._lone if now - self._appended_at > COMPANY_SECONDS else self._batching
        self._appended_at = now
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
