"""Publishes a client's commands in groups: what is asked for while one group is on its way goes with the next.

A group is known to be written when its producer has nothing left. A report for each command would be dear: every
one takes the interpreter's lock anew, and where the caller's thread is busy that takes milliseconds each time.
"""

import queue
import threading
from concurrent.futures import Future
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from engine.client.errors import CLOSED, UnreachableError
from engine.kafka.appender import appending_producer, produce
from engine.kafka.errors import fault_of
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Append

ANY_PARTITION = -1
GROUP_MAX = 5_000
FLUSH_S = 1.0
CLOSE_S = 5.0

Published = Future[None]


class Publisher:
    """The one producer of a client, and the thread that uses it. `publish` may be called by any thread."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._producer = appending_producer(settings, only_errors=True)
        self._queue: queue.SimpleQueue[tuple[bytes, bytes, Published] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="client-publisher", daemon=True)
        self._thread.start()

    def publish(self, key: bytes, value: bytes) -> Published:
        """In order per key. Done when all replicas have it, or with UnreachableError."""
        published = Published()
        # With the lock, so that nothing is put behind the end, where nobody would ever look.
        with self._lock:
            if not self._is_closed:
                self._queue.put((key, value, published))
                return published
        published.set_exception(UnreachableError(CLOSED))
        return published

    def close(self) -> None:
        """Waits, briefly, for what is being published."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._queue.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        is_open = True
        while is_open:
            is_open = self._publish_group()

    def _publish_group(self) -> bool:
        """Publishes what there is, waiting for the first. False at the end."""
        group: list[Published] = []
        item = self._queue.get()
        while item is not None:
            key, value, published = item
            self._send(key, value, published)
            group.append(published)
            if len(group) == GROUP_MAX or self._queue.empty():
                break
            item = self._queue.get()
        while self._producer.flush(FLUSH_S):
            # Each is given up, with an error, when its delivery has taken too long.
            pass
        for published in group:
            if not published.done():
                published.set_result(None)
        return item is not None

    def _send(self, key: bytes, value: bytes, published: Published) -> None:
        record = Append(ANY_PARTITION, key, value)
        try:
            produce(self._producer, self._topic, record, partial(_failed, published))
        except KafkaException as problem:
            published.set_exception(UnreachableError(str(fault_of(problem, "publish a command"))))


def _failed(published: Published, error: KafkaError | None, message: Message) -> None:
    if error is not None:
        published.set_exception(UnreachableError(str(fault_of(error, f"publish to {message.topic()}"))))
