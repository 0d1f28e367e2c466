"""Who writes what nobody can read, into `commands` as any outsider may, and into the inbox as no one should.

What it writes is refused, record by record, and never holds up anybody: it has no valid command to give.
"""

import random

from engine.codec import avro
from engine.codec.avro import INBOX_RECORD_BYTES_MAX
from engine.codec.schemas import MAGIC
from engine.core import limits
from engine.model import commands as cm
from engine.model.failure import Payload
from engine.testing import programs
from engine.testing.memory_broker import MemoryBroker

# More than the limit, whatever the engine takes for it.
OVERSIZE_BYTES = 900_001

_KEYS = (b"", b"\xff\xfe", b"w0", b"w1", b"~checkpoint", b"w0|x|1")


class Vandal:
    """Its deeds, one at a time."""

    def __init__(self, broker: MemoryBroker, rng: random.Random) -> None:
        self._broker = broker
        self._rng = rng

    def undecodable_command(self) -> None:
        """Into `commands`, where anybody may write."""
        forbidden = cm.PurgeChild(instance_id="w0", parent_instance_id="w1", parent_run_id="r")
        values = [*self._garbage(), avro.encode_command(forbidden), b'{"type": "start", "instance_id": 3}']
        self._publish(self._rng.choice(values))

    def oversize_command(self) -> None:
        """A payload over its limit, or a record over the record's."""
        big = Payload(b"x" * (limits.PAYLOAD_BYTES_MAX + 1))
        start = cm.StartInstance(instance_id="w0", workflow=programs.WORKFLOW, input=big)
        self._publish(self._rng.choice((avro.encode_command(start), bytes(OVERSIZE_BYTES))))

    def undecodable_record(self, partition: int) -> None:
        """Into the inbox: a newer engine's, or a broken one's."""
        self._forge(partition, self._rng.choice(self._garbage()))

    def oversize_record(self, partition: int) -> None:
        """Into the inbox."""
        self._forge(partition, bytes(INBOX_RECORD_BYTES_MAX + 1))

    def _garbage(self) -> list[bytes | None]:
        rng = self._rng
        whole = avro.encode_command(cm.SuspendInstance(instance_id="w0"))
        return [
            None,
            b"",
            rng.randbytes(rng.randrange(40)),
            MAGIC + rng.randbytes(8) + b"of a newer engine",
            whole[: rng.randrange(len(whole))],
            whole + b"?",
            b'{"type":',
        ]

    def _publish(self, value: bytes | None) -> None:
        partition = self._rng.randrange(len(self._broker.commands))
        self._broker.publish(partition, self._rng.choice(_KEYS), value)

    def _forge(self, partition: int, value: bytes | None) -> None:
        headers = self._rng.choice(((), (("from", b"nobody|knows"),), (("trace", b"1"),)))
        self._broker.forge(partition, self._rng.choice(_KEYS), value, headers)
