"""A TCP proxy before one broker, which can leave all brokers out of answers about the cluster.

So does a broker that stood still until its controller took it for dead, for a moment.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaException

HOST = "127.0.0.1"
METADATA = 3
# From this version on requests and replies are of Kafka's flexible form: counts and lengths are varints.
FLEXIBLE_VERSION = 9
SIZE_BYTES = 4
TRIES = 2_000
DEAF_SECONDS = 3.0


class NamelessProxy:
    """Passes everything; while `is_fickle`, every other answer about the cluster names no broker."""

    def __init__(self, port: int, target_port: int) -> None:
        self.is_fickle = False
        self._answers = itertools.count()
        self._target_port = target_port
        self._listener = socket.create_server((HOST, port))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def close(self) -> None:
        # A thread that waits for a connection hears of a shutdown, not of a close.
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in (self._listener, *self._sockets):
            each.close()

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                with suppress(OSError):
                    broker = socket.create_connection((HOST, self._target_port))
                    self._sockets.append(broker)
                    asked: set[bytes] = set()
                    self._begin(self._carry, client, broker, partial(_note_question, asked))
                    self._begin(self._carry, broker, client, partial(self._change_answer, asked))

    def _carry(self, source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
        """Until either side closes; then both are."""
        with suppress(OSError):
            while frame := _read(source):
                frame = change(frame)
                target.sendall(len(frame).to_bytes(SIZE_BYTES) + frame)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _change_answer(self, asked: set[bytes], reply: bytes) -> bytes:
        if reply[:4] not in asked:
            return reply
        asked.discard(reply[:4])
        return without_brokers(reply) if self.is_fickle and next(self._answers) % 2 else reply


def _note_question(asked: set[bytes], request: bytes) -> bytes:
    if int.from_bytes(request[:2]) == METADATA:
        assert int.from_bytes(request[2:4]) >= FLEXIBLE_VERSION
        asked.add(request[4:8])
    return request


def without_brokers(reply: bytes) -> bytes:
    """A reply to a metadata request, its list of brokers made empty."""
    # A correlation id, no tags, for how long to hold back; then the brokers.
    start = 4 + 1 + 4
    count, at = _varint(reply, start)
    for _ in range(count - 1):
        host_bytes, at = _varint(reply, at + 4)
        rack_bytes, at = _varint(reply, at + host_bytes - 1 + 4)
        tags, at = _varint(reply, at + max(rack_bytes - 1, 0))
        assert tags == 0
    return reply[:start] + b"\x01" + reply[at:]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def _read(source: socket.socket) -> bytes:
    """One request or reply; nothing at the end."""
    size = source.recv(SIZE_BYTES, socket.MSG_WAITALL)
    if len(size) < SIZE_BYTES:
        return b""
    wanted = int.from_bytes(size)
    frame = source.recv(wanted, socket.MSG_WAITALL)
    return frame if len(frame) == wanted else b""


def lose(client: Any, topic: str) -> None:
    """Has a client ask through a fickle proxy until it is lost: a race, lost once in twenty times."""
    for _ in range(TRIES):
        try:
            client.list_topics(topic, DEAF_SECONDS)
        except KafkaException:
            return
    raise AssertionError(f"not lost by {TRIES} answers: is librdkafka's issue 5301 mended?")
