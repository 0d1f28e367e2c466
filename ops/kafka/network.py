"""Ports of 127.0.0.1, and the question whether Kafka answers there."""

from __future__ import annotations

import random
import socket
import struct

from ops.kafka.errors import KafkaUnavailable, PortInUse

HOST = "127.0.0.1"
# Below every system's ephemeral ports. From those a client's outgoing connection could take a broker's port
# while the broker is down, and a connection to a port without a listener could even connect to itself.
PORT_MIN = 20_000
PORT_MAX = 32_000
PICKS_MAX = 200

API_VERSIONS_KEY = 18
CLIENT_ID = b"ready"


def free_ports(count: int) -> tuple[int, ...]:
    """Distinct ports nobody listens on now. At random, so that two runs at once seldom pick the same."""
    found: dict[int, None] = {}
    for _ in range(PICKS_MAX):
        port = random.randint(PORT_MIN, PORT_MAX)  # noqa: S311 - a port is no secret
        if is_free(port):
            found[port] = None
        if len(found) == count:
            return tuple(found)
    raise KafkaUnavailable(
        f"no {count} free ports between {PORT_MIN} and {PORT_MAX}: end some listeners there."
    )


def is_free(port: int) -> bool:
    """Now; it may be taken a moment later."""
    with socket.socket() as probe:
        # As Java does: a port whose last connections are in TIME_WAIT is free to listen on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def require_free(port: int, what_for: str) -> None:
    """Named before a broker starts, instead of found in its log afterwards."""
    if not is_free(port):
        raise PortInUse(port, what_for)


def kafka_answers(port: int, seconds_max: float = 2.0) -> bool:
    """Whether a broker serves requests, hence is registered and unfenced. Asked, not read from a log."""
    body = struct.pack(">hhih", API_VERSIONS_KEY, 0, 1, len(CLIENT_ID)) + CLIENT_ID
    try:
        with socket.create_connection((HOST, port), seconds_max) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            return len(connection.recv(4, socket.MSG_WAITALL)) == 4
    except OSError:
        return False
