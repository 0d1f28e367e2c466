"""The proxy lets everything pass but what it was told to hold; the broker here is an echo of requests."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from ops.kafka.network import HOST, free_ports
from tests.chaos.proxy import END_TXN, Hold, Proxy

FETCH = 1
WAIT_SECONDS = 30


class Broker:
    """Answers each request with its correlation id, and remembers what came."""

    def __init__(self, port: int) -> None:
        self.requests: list[int] = []
        self.news = threading.Condition()
        self._listener = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, *requests: int) -> None:
        """Until these have come, in any order."""
        with self.news:
            assert self.news.wait_for(lambda: set(self.requests) == set(requests), WAIT_SECONDS)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # Whoever hangs up, with or without a word, wants no answer.
        with connection, contextlib.suppress(OSError):
            while head := connection.recv(4, socket.MSG_WAITALL):
                body = connection.recv(*struct.unpack(">i", head), socket.MSG_WAITALL)
                (number,) = struct.unpack(">i", body[4:8])
                with self.news:
                    self.requests.append(number)
                    self.news.notify_all()
                connection.sendall(struct.pack(">ii", 4, number))


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), WAIT_SECONDS)

    def send(self, key: int, number: int) -> None:
        self._socket.sendall(struct.pack(">ihhi", 8, key, 0, number))

    def receive(self) -> int | None:
        """The correlation id of the next reply; None where the connection is over."""
        try:
            reply = self._socket.recv(8, socket.MSG_WAITALL)
        except OSError:
            return None
        return struct.unpack(">ii", reply)[1] if reply else None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ports() -> tuple[int, ...]:
    return free_ports(2)


@pytest.fixture
def broker(ports: tuple[int, ...]) -> Iterator[Broker]:
    broker = Broker(ports[1])
    yield broker
    broker.close()


@pytest.fixture
def proxy(ports: tuple[int, ...]) -> Iterator[Proxy]:
    proxy = Proxy(*ports)
    yield proxy
    proxy.close()


@pytest.fixture
def client(broker: Broker, proxy: Proxy) -> Iterator[Client]:
    client = Client(proxy.port)
    yield client
    client.close()


def test_what_is_not_held_passes(client: Client, proxy: Proxy) -> None:
    proxy.hold(Hold.UNANSWERED, 0)
    client.send(FETCH, 1)
    assert client.receive() == 1
    proxy.forgive()
    client.send(END_TXN, 2)
    assert client.receive() == 2
    assert proxy.held == 0


def test_a_delayed_request_and_those_behind_it_come_later(client: Client, proxy: Proxy) -> None:
    proxy.hold(Hold.DELAYED, 0.2)
    before = time.monotonic()
    client.send(END_TXN, 1)
    client.send(FETCH, 2)
    assert [client.receive(), client.receive()] == [1, 2]
    assert time.monotonic() - before >= 0.2
    assert proxy.held == 1


def test_an_unanswered_request_arrives_and_its_reply_does_not(
    client: Client, proxy: Proxy, broker: Broker
) -> None:
    proxy.hold(Hold.UNANSWERED, 0)
    client.send(END_TXN, 1)
    assert client.receive() is None
    broker.wait_for(1)


def test_a_late_request_arrives_though_its_client_has_lost_the_connection(
    client: Client, proxy: Proxy, broker: Broker
) -> None:
    proxy.hold(Hold.LATE, 0.2)
    client.send(END_TXN, 1)
    assert client.receive() is None
    again = Client(proxy.port)
    again.send(END_TXN, 2)
    assert again.receive() == 2
    broker.wait_for(1, 2)
    again.close()
