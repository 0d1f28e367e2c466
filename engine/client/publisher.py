"""Publishes a client's commands in groups: what comes while one group is on its way goes with the next.

A group is known to be written when its producer has nothing left. A report for each command would be dear:
every one takes the interpreter's lock anew, and where the caller's thread is busy that takes milliseconds.
"""

import queue
import threading
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from engine.client.connection import OnPublished
from engine.client.errors import CLOSED, UnreachableError
from engine.kafka.appender import appending_producer, produce
from engine.kafka.errors import fault_of
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Append

ANY_PARTITION = -1
GROUP_MAX = 5_000
FLUSH_S = 1.0
CLOSE_S = 5.0
HEAR_S = 5.0


class _Command:
    """One command on its way. It is answered once."""

    __slots__ = ("key", "on_done", "value")

    def __init__(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        self.key = key
        self.value = value
        self.on_done: OnPublished | None = on_done

    def answer(self, error: UnreachableError | None) -> None:
        """Tells the outcome; a second one is of no interest."""
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done(error)


class Publisher:
    """The one producer of a client, and the thread that uses it. `publish` may be called by any thread."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._producer = appending_producer(settings, topic, only_errors=True)
        self._queue: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="client-publisher", daemon=True)
        self._thread.start()

    def publish(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        """In order per key. `on_done` is called once, by any thread: all replicas have it, or why not."""
        # With the lock, so that nothing is put behind the end, where nobody would ever look.
        with self._lock:
            if not self._is_closed:
                self._queue.put(_Command(key, value, on_done))
                return
        on_done(UnreachableError(CLOSED))

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
        group: list[_Command] = []
        command = self._next()
        if self._producer.vitals.is_lost:
            self._producer = appending_producer(self._settings, self._topic, only_errors=True)
        while command is not None:
            self._send(command)
            group.append(command)
            if len(group) == GROUP_MAX or self._queue.empty():
                break
            command = self._queue.get()
        while self._producer.flush(FLUSH_S):
            # Each is given up, with an error, when its delivery has taken too long.
            pass
        for each in group:
            each.answer(None)
        return command is not None

    def _next(self) -> _Command | None:
        """Waits for a command. None at the end."""
        while True:
            try:
                return self._queue.get(timeout=HEAR_S)
            except queue.Empty:
                # What the producer tells of itself would pile up.
                self._producer.poll(0)

    def _send(self, command: _Command) -> None:
        record = Append(ANY_PARTITION, command.key, command.value)
        try:
            produce(self._producer, self._topic, record, partial(_failed, command))
        except KafkaException as problem:
            command.answer(UnreachableError(str(fault_of(problem, "publish a command"))))


def _failed(command: _Command, error: KafkaError | None, message: Message) -> None:
    if error is not None:
        command.answer(UnreachableError(str(fault_of(error, f"publish to {message.topic()}"))))
