"""From `commands` to the inbox: validated, routed, exactly once, and no faster than the owners follow.

Rules
* Each record goes on with where it came from and what this session sent to that target before it; the owner
  of the target drops what it has and refuses what would leave a gap.
* The group offset advances only over a gapless prefix of what is acknowledged.
* Any append that fails, or lands out of order, ends the session: everything from the group offset on is sent
  again.
* Who asks for a reply is named by a header, which goes on as it is: the owner answers, with its commit.
* A record that can't be accepted goes on as a refusal, so that its dead letter is as exact as a command's
  effect.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from engine.codec import avro
from engine.codec.schemas import MAGIC
from engine.codec.topics import (
    FROM_HEADER,
    REPLY_TO_HEADER,
    IngressSource,
    format_source,
    parse_reply_to,
    partition_of,
)
from engine.core import limits
from engine.model.commands import RefuseRecord
from engine.model.effects import Reason
from engine.model.failure import cut
from engine.partition.ports import Append, Appended, Appender, Clock, CommandSource, Headers, Record

# How far an inbox may be ahead of its owner: the less, the sooner running work has its turn, however many
# starts are queued. An owner elsewhere is heard of now and then only, and must not run dry meanwhile.
NEAR_RECORDS_MAX = 24
FAR_RECORDS_MAX = 256
STANDSTILL_MS = 1_000
COMMIT_INTERVAL_MS = 50
HELD_RECORDS_MAX = 20_000
# What no command may have can't be replayed either: of that, the dead letter keeps the beginning.
REFUSED_KEY_BYTES_MAX = 4_096
REFUSED_VALUE_BYTES_MAX = 890_000


class _Sent(msgspec.Struct, gc=False):
    """A record of a source partition on its way into the inbox."""

    offset: int
    is_done: bool = False


class _Routed(msgspec.Struct, gc=False):
    """A record of `commands`, judged, on its way through the gate."""

    offset: int
    target: int
    instance_id: str
    value: bytes
    reply_to: bytes | None


class _SourcePartition:
    """One of our partitions of `commands`, in one session."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.held: deque[_Routed] = deque()
        self.sent: deque[_Sent] = deque()
        self.previous: dict[int, int] = {}
        self.position = -1
        self.committed = -1


class _Target:
    """One inbox partition, as far as the gate is concerned."""

    def __init__(self) -> None:
        self.appended = -1
        self.in_flight = 0
        self.progress = -1
        self.progressed_at_ms = 0


class Ingress:
    """The forwarder of one worker. Driven by one thread; never waits but in `poll`."""

    def __init__(
        self,
        source: CommandSource,
        appender: Appender,
        progress: Callable[[int], tuple[int | None, bool]],
        clock: Clock,
        partitions: int,
    ) -> None:
        """`progress` tells how far the owner of an inbox partition is, if known, and whether it is here."""
        self.forwarded = 0
        self.refused = 0
        self.restarts = 0
        self._source = source
        self._appender = appender
        self._progress = progress
        self._clock = clock
        self._partitions = partitions
        self._ours: dict[int, _SourcePartition] = {}
        self._targets = [_Target() for _ in range(partitions)]
        self._has_failed = False
        self._in_flight = 0
        self._committed_at_ms = 0

    def tick(self, timeout_ms: int) -> int:
        """One pass: poll, forward what the gates let through, commit.

        Returns how many records it forwarded.
        """
        self._appender.deliver()
        if self._has_failed:
            self._restart()
        held = self.held
        records: list[Record] = []
        if held < HELD_RECORDS_MAX and not self._has_failed:
            records = self._source.poll(1 if held or self._in_flight else timeout_ms)
        self._take_assignment()
        for record in records:
            ours = self._ours.get(record.partition)
            if ours is not None:
                ours.held.append(self._route(record))
        before = self.forwarded
        for number, ours in self._ours.items():
            self._forward(number, ours)
        self._commit()
        return self.forwarded - before

    @property
    def is_blocked(self) -> bool:
        """Whether `tick` can't even poll now, hence returns at once: whoever drives it must wait a little."""
        return self._has_failed or self.held >= HELD_RECORDS_MAX

    @property
    def is_beginning(self) -> bool:
        """Whether `tick` may ask where some partition begins, as after a failure: that may take long."""
        return self._has_failed or self._source.is_beginning

    @property
    def held(self) -> int:
        """Records read and held back by a gate."""
        return sum(len(each.held) for each in list(self._ours.values()))

    def _take_assignment(self) -> None:
        assignment = self._source.assignment()
        for number in [each for each in self._ours if each not in assignment]:
            del self._ours[number]
        for number, session in assignment.items():
            ours = self._ours.get(number)
            if ours is None or ours.session != session:
                self._ours[number] = _SourcePartition(session)

    def _forward(self, number: int, ours: _SourcePartition) -> None:
        held = ours.held
        while held and not self._has_failed and self._gate(held[0].target):
            self._send(number, ours, held.popleft())

    def _route(self, record: Record) -> _Routed:
        reply_to = _header(record, REPLY_TO_HEADER) if record.headers else None
        if reply_to is None or parse_reply_to(reply_to) is not None:
            value, instance_id = self._accept(record)
        else:
            # Its sender would wait in vain for an answer to something that took effect.
            value, instance_id = self._refusal(record, Reason.INVALID_VALUE, _unanswerable(reply_to))
            reply_to = None
        target = partition_of(instance_id, self._partitions)
        return _Routed(record.offset, target, instance_id, value, reply_to)

    def _accept(self, record: Record) -> tuple[bytes, str]:
        """(inbox value, instance id): the command as it came, or as Avro if it came as JSON, or a refusal."""
        value = record.value or b""
        try:
            command = avro.decode_public_command(value, _content_type(record))
        except avro.UndecodableError as error:
            return self._refusal(record, error.reason, error.detail)
        if value[:2] == MAGIC:
            return value, command.instance_id
        return avro.encode_command(command), command.instance_id

    def _refusal(self, record: Record, reason: Reason, detail: str) -> tuple[bytes, str]:
        self.refused += 1
        instance_id = record.key.decode("utf-8", "replace")
        if limits.invalid_instance_id(instance_id) is not None:
            instance_id = "unknown"
        key, value = record.key[:REFUSED_KEY_BYTES_MAX], record.value or b""
        if len(value) > REFUSED_VALUE_BYTES_MAX:
            detail = f"{detail} (the dead letter holds {REFUSED_VALUE_BYTES_MAX:,} of {len(value):,} bytes)"
            value = value[:REFUSED_VALUE_BYTES_MAX]
        refusal = RefuseRecord(
            instance_id=instance_id,
            reason=reason.value,
            detail=cut(detail, limits.REASON_BYTES_MAX),
            key=key,
            value=value,
        )
        return avro.encode_command(refusal), instance_id

    def _gate(self, target: int) -> bool:
        """Whether the target's owner keeps up; or stands still, and then a longer inbox harms nobody."""
        state = self._targets[target]
        progress, is_near = self._progress(target)
        window = NEAR_RECORDS_MAX if is_near else FAR_RECORDS_MAX
        if state.in_flight < window and state.appended < 0:
            return True
        now_ms = self._clock.monotonic_ms()
        if progress is None:
            progress = -1
        if progress != state.progress:
            state.progress, state.progressed_at_ms = progress, now_ms
        lag = state.appended + 1 - max(progress, 0) + state.in_flight
        return lag < window or now_ms - state.progressed_at_ms > STANDSTILL_MS

    def _send(self, number: int, ours: _SourcePartition, routed: _Routed) -> None:
        target = routed.target
        source = IngressSource(self._source.topic_id, number, routed.offset, ours.previous.get(target))
        ours.previous[target] = routed.offset
        sent = _Sent(routed.offset)
        ours.sent.append(sent)
        self._targets[target].in_flight += 1
        self._in_flight += 1
        self.forwarded += 1
        headers: Headers = ((FROM_HEADER, format_source(source)),)
        if routed.reply_to is not None:
            headers = (*headers, (REPLY_TO_HEADER, routed.reply_to))
        append = Append(target, routed.instance_id.encode(), routed.value, headers)
        self._appender.append(append, partial(self._done, sent, target))

    def _done(self, sent: _Sent, target: int, outcome: Appended) -> None:
        state = self._targets[target]
        state.in_flight -= 1
        self._in_flight -= 1
        if outcome.offset <= state.appended:
            self._has_failed = True
            return
        state.appended = outcome.offset
        sent.is_done = not self._has_failed

    def _commit(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._committed_at_ms < COMMIT_INTERVAL_MS:
            return
        positions: dict[int, int] = {}
        for number, ours in self._ours.items():
            while ours.sent and ours.sent[0].is_done:
                ours.position = ours.sent.popleft().offset + 1
            if ours.position > ours.committed:
                positions[number] = ours.committed = ours.position
        if positions:
            self._committed_at_ms = now_ms
            self._source.commit(positions)

    def _restart(self) -> None:
        """A new session, once nothing of the old one is on its way."""
        if self._in_flight:
            return
        self.restarts += 1
        self._has_failed = False
        self._ours.clear()
        for target in self._targets:
            target.appended = -1
        self._source.restart()


def _content_type(record: Record) -> str | None:
    value = _header(record, "content-type") if record.headers else None
    return None if value is None else value.decode("ascii", "replace")


def _header(record: Record, wanted: str) -> bytes | None:
    return next((value for name, value in record.headers if name == wanted), None)


def _unanswerable(reply_to: bytes) -> str:
    return (
        "expected the header reply-to to be '<requester>|<request id>', each of 1 to 64 letters, digits, "
        f"'_', '.' and '-', but got {reply_to.decode('utf-8', 'replace')!r:.200}"
    )
