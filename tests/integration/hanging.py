"""A transaction that hangs: its records are in the log, and its coordinator knows nothing of it.

Made by hand, for librdkafka would never: the last batch of a transactional producer is sent once more as its
next, after the transaction was ended. The broker must not verify transactions (VERIFIES_NOTHING).
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from ops.kafka.broker import KafkaBroker
from ops.kafka.network import HOST

VERIFIES_NOTHING = {"transaction.partition.verification.enable": "false"}
PRODUCE, PRODUCE_VERSION = 0, 3
ALL_REPLICAS, TIMEOUT_MS = -1, 10_000
# A batch: its base offset and size; from its attributes on it is covered by a checksum.
HEAD = struct.Struct(">qi")
CHECKSUM_AT, ATTRIBUTES_AT, SEQUENCE_AT = 17, 21, 53
APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20


def hang(broker: KafkaBroker, topic: str, transactional_id: str) -> None:
    """Leaves the last batch of partition 0 in the log a second time, in a transaction that nobody ends."""
    batch = bytearray(_last_batch(broker.directory / "data" / f"{topic}-0" / f"{0:020}.log"))
    sequence, count = struct.unpack_from(">ii", batch, SEQUENCE_AT)
    # The broker has stamped it with its own time, which a client may not say it did.
    (attributes,) = struct.unpack_from(">h", batch, ATTRIBUTES_AT)
    struct.pack_into(">h", batch, ATTRIBUTES_AT, attributes & ~APPEND_TIME)
    struct.pack_into(">q", batch, 0, 0)
    struct.pack_into(">i", batch, SEQUENCE_AT, sequence + count)
    struct.pack_into(">I", batch, CHECKSUM_AT, _crc32c(batch[ATTRIBUTES_AT:]))
    body = _text(transactional_id) + struct.pack(">hii", ALL_REPLICAS, TIMEOUT_MS, 1) + _text(topic)
    body += struct.pack(">iii", 1, 0, len(batch)) + bytes(batch)
    request = struct.pack(">hhi", PRODUCE, PRODUCE_VERSION, 1) + _text("by-hand") + body
    with socket.create_connection((HOST, broker.node.port), 10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        size = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))[0]
        reply = connection.recv(size, socket.MSG_WAITALL)
    (error,) = struct.unpack_from(">h", reply, 4 + 4 + 2 + len(topic) + 4 + 4)
    assert error == 0, f"expected the broker to take the batch, but it answered {error}"


def _last_batch(segment: Path) -> bytes:
    data, at, last = segment.read_bytes(), 0, b""
    while at + HEAD.size < len(data):
        size = HEAD.size + HEAD.unpack_from(data, at)[1]
        (attributes,) = struct.unpack_from(">h", data, at + ATTRIBUTES_AT)
        if attributes & TRANSACTIONAL and not attributes & CONTROL:
            last = data[at : at + size]
        at += size
    assert last, f"expected a transactional batch in {segment}"
    return last


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _crc32c(data: bytes | bytearray) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
