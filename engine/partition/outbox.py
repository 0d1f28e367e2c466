"""Messages to other instances.

Numbered in the turn, on record with the commit, sent after it, resent until it is there.

A channel leads from this partition to one target partition. Number k counts as acknowledged only when k - 1
was, and at a lower offset; a failure resends everything from the last acknowledged on. The receiver takes
each number once.
"""

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from engine.codec import avro
from engine.codec.topics import FROM_HEADER, ChannelSource, format_source, out_key, parse_out_key
from engine.core.apply import key_digest
from engine.model.checkpoint import Checkpoint, OutMark
from engine.partition.ports import Append, Appended

AppendFunction = Callable[[Append, Callable[[Appended], None]], None]


class OutMessage(msgspec.Struct, gc=False):
    """One message on its way."""

    number: int
    record_key: bytes
    value: bytes
    instance_key: bytes
    digest: int


class _Channel:
    def __init__(self, assigned: int, acknowledged: int) -> None:
        self.assigned = assigned
        self.acknowledged = acknowledged
        self.acknowledged_offset = -1
        self.unsent: deque[OutMessage] = deque()
        self.sent: deque[OutMessage] = deque()
        self.in_flight = 0
        self.has_failed = False


class Outbox:
    """All channels that begin at one partition."""

    def __init__(self, topic_id: str, partition: int, checkpoint: Checkpoint | None) -> None:
        self._topic_id = topic_id
        self._partition = partition
        self._channels: dict[int, _Channel] = {}
        self._settled: list[OutMessage] = []
        for mark in checkpoint.outbox if checkpoint is not None else ():
            self._channels[mark.partition] = _Channel(mark.assigned, mark.acknowledged)

    def number(self, target: int, instance_key: bytes, value: bytes) -> OutMessage:
        """Takes the next number of the channel to `target`. The caller puts the message on record."""
        channel = self._channels.setdefault(target, _Channel(0, 0))
        channel.assigned += 1
        message = OutMessage(
            number=channel.assigned,
            record_key=out_key(self._topic_id, target, channel.assigned),
            value=value,
            instance_key=instance_key,
            digest=0,
        )
        channel.unsent.append(message)
        return message

    def restore(self, target: int, message: OutMessage) -> None:
        """A message on record that may not have been sent. Called in the order of numbers."""
        channel = self._channels.setdefault(target, _Channel(0, 0))
        channel.unsent.append(message)

    def send(self, upto: dict[int, int], append: AppendFunction) -> None:
        """Sends the numbers up to `upto` per target, and begins again where a send had failed."""
        for target, number in upto.items():
            channel = self._channels[target]
            if channel.has_failed and channel.in_flight == 0:
                channel.has_failed = False
                channel.unsent.extendleft(reversed(channel.sent))
                channel.sent.clear()
            while not channel.has_failed and channel.unsent and channel.unsent[0].number <= number:
                message = channel.unsent.popleft()
                channel.sent.append(message)
                channel.in_flight += 1
                append(self._record(target, message), self._on_done(channel, message.number))

    @property
    def has_failed(self) -> bool:
        """Whether some channel must begin again."""
        return any(channel.has_failed for channel in self._channels.values())

    def assigned(self) -> dict[int, int]:
        """The newest number per target."""
        return {target: channel.assigned for target, channel in self._channels.items()}

    def take_settled(self) -> list[OutMessage]:
        """Messages acknowledged since the last call: their records can go."""
        settled, self._settled = self._settled, []
        return settled

    @property
    def has_settled(self) -> bool:
        """Whether `take_settled` would return anything."""
        return bool(self._settled)

    @property
    def unacknowledged(self) -> int:
        """Messages on record, or about to be, that are not known to have arrived. Any thread."""
        return sum(channel.assigned - channel.acknowledged for channel in list(self._channels.values()))

    def marks(self) -> tuple[OutMark, ...]:
        """For the checkpoint."""
        return tuple(
            OutMark(
                topic_id=self._topic_id, partition=target, assigned=c.assigned, acknowledged=c.acknowledged
            )
            for target, c in self._channels.items()
        )

    def _record(self, target: int, message: OutMessage) -> Append:
        source = ChannelSource(topic_id=self._topic_id, partition=self._partition, number=message.number)
        header = (FROM_HEADER, format_source(source))
        return Append(partition=target, key=message.instance_key, value=message.value, headers=(header,))

    def _on_done(self, channel: _Channel, number: int) -> Callable[[Appended], None]:
        def done(outcome: Appended) -> None:
            channel.in_flight -= 1
            is_next = number == channel.acknowledged + 1
            if channel.has_failed or not is_next or outcome.offset <= channel.acknowledged_offset:
                channel.has_failed = True
                return
            channel.acknowledged, channel.acknowledged_offset = number, outcome.offset
            self._settled.append(channel.sent.popleft())

        return done


def unsent(records: Iterable[tuple[bytes, bytes]]) -> list[tuple[int, OutMessage]]:
    """(target partition, message) of the messages on record, in the order they must be sent in."""
    messages = [_message_of(key, value) for key, value in records]
    return sorted(messages, key=lambda each: (each[0], each[1].number))


def _message_of(key: bytes, value: bytes) -> tuple[int, OutMessage]:
    parsed = parse_out_key(key)
    assert parsed is not None, f"expected an outbox key, but got {key!r}"
    _, target, number = parsed
    instance_key = avro.decode_command(value).instance_id.encode()
    message = OutMessage(
        number=number, record_key=key, value=value, instance_key=instance_key, digest=key_digest(key, value)
    )
    return target, message
