"""Publishes commands one by one, each with an acknowledgement of its own: for those who wait for each alone.

That is dearer than the groups of `Publisher`; but no command waits here for another to be written.
"""

import threading
from concurrent.futures import Future
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from engine.client.errors import CLOSED, UnreachableError
from engine.kafka.appender import appending_producer, produce
from engine.kafka.errors import fault_of
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Append, Headers

ANY_PARTITION = -1
DELIVERY_POLL_S = 0.1
CLOSE_S = 5.0


class LonePublisher:
    """A producer, and the thread that hears its reports. `publish` may be called by any thread."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._producer = appending_producer(settings, topic, only_errors=False)
        # Whoever publishes must not meet a producer that is being replaced: nobody would hear its reports.
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._deliveries = threading.Thread(target=self._deliver, name="client-deliveries", daemon=True)
        self._deliveries.start()

    def publish(self, key: bytes, value: bytes, headers: Headers) -> "Future[None]":
        """In order per key. Done when all replicas have it; or UnreachableError."""
        published: Future[None] = Future()
        if self._is_closed.is_set():
            published.set_exception(UnreachableError(CLOSED))
            return published
        record = Append(ANY_PARTITION, key, value, headers)
        try:
            with self._lock:
                produce(self._producer, self._topic, record, partial(_delivered, published))
        except KafkaException as problem:
            published.set_exception(UnreachableError(str(fault_of(problem, "publish a command"))))
        return published

    def close(self) -> None:
        """Waits, briefly, for what is being published."""
        self._producer.flush(CLOSE_S)
        self._is_closed.set()
        self._deliveries.join(CLOSE_S)

    def _deliver(self) -> None:
        # A thread of its own, so that an acknowledgement wakes whoever waits for it, whatever the others do.
        while not self._is_closed.is_set():
            self._producer.poll(DELIVERY_POLL_S)
            if self._producer.vitals.is_lost:
                self._replace()

    def _replace(self) -> None:
        with self._lock:
            # What it was to send is given up first, each with its error.
            if len(self._producer):
                return
            self._producer = appending_producer(self._settings, self._topic, only_errors=False)


def _delivered(published: "Future[None]", error: KafkaError | None, message: Message) -> None:
    if error is None:
        published.set_result(None)
    else:
        published.set_exception(UnreachableError(str(fault_of(error, f"publish to {message.topic()}"))))
