"""The records that one run of a workflow writes, derived by the engine's own core and codec.

Floors append these very bytes, so that a floor and what stands beside it move the same data. Nothing here is
measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench import flows
from engine.codec import avro
from engine.codec.topics import FROM_HEADER, IngressSource, format_source, history_key, out_key
from engine.core.decide import Seat
from engine.core.turn import Moment, take_turn
from engine.core.values import decode_value, encode_value
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model.checkpoint import Checkpoint, SourceMark
from engine.model.ids import run_id_of_start

NOW_MS = 1_790_000_000_000
TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
COMMANDS = "commands"
INBOX = "inbox"
HISTORY = "history"
FORWARDED = ((FROM_HEADER, format_source(IngressSource(TOPIC_ID, 0, 100_000, 99_999))),)

Pair = tuple[bytes, bytes]


@dataclass(frozen=True)
class Step:
    """Records that can be written at once, after those of the step before. History: a transaction."""

    topic: str
    records: tuple[Pair, ...]
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Script:
    """All steps of one run, in the order of their dependence."""

    steps: tuple[Step, ...]

    def count(self, topic: str) -> int:
        """How many records go to a topic, checkpoints not counted."""
        return sum(len(step.records) for step in self.steps if step.topic == topic)

    def bytes(self, topic: str) -> int:
        """How many bytes of keys and values go to a topic."""
        return sum(len(key) + len(value) for s in self.steps if s.topic == topic for key, value in s.records)

    def after_first_commit(self) -> "Script":
        """What follows the first commit: of a run that waits for an event, what the event brings about."""
        index = next(number for number, step in enumerate(self.steps) if step.topic == HISTORY)
        return Script(self.steps[index + 1 :])

    def about(self) -> dict[str, Any]:
        """For the report."""
        topics = (COMMANDS, INBOX, HISTORY)
        counts = {topic: self.count(topic) for topic in topics}
        return {"records": counts, "bytes": {topic: self.bytes(topic) for topic in topics}}


def checkpoint() -> bytes:
    """A checkpoint of usual size: what ends every commit."""
    sources = tuple(SourceMark(topic_id=TOPIC_ID, partition=p, offset=10_000) for p in range(4))
    return avro.encode_checkpoint(
        Checkpoint(
            epoch=1,
            batch=1_000,
            records=100,
            inbox_topic_id=TOPIC_ID,
            offset=100_000,
            timestamp_ms=NOW_MS,
            digest=b"digestof",
            sources=sources,
            lives=1,
            uncommitted_records_max=20_000,
            build="a" * 16,
            key_count=1_000_000,
            key_sum=b"\0" * 8,
        )
    )


def script_of(
    workflow: str,
    value: Any,
    *,
    instance_id: str = "floor-00000000",
    events: Iterable[tuple[str, Any]] = (),
) -> Script:
    """What one run writes. `events` are raised one by one, each when nothing else is left to happen."""
    start = cm.StartInstance(
        instance_id=instance_id, workflow=workflow, input=encode_value(value, "the input")
    )
    writer = _Writer()
    writer.publish(start)
    writer.settle([start])
    for name, data in events:
        writer.commit()
        event = cm.RaiseEvent(instance_id=instance_id, name=name, data=encode_value(data, "the event"))
        writer.publish(event)
        writer.settle([event])
    writer.commit()
    return Script(tuple(writer.steps))


@dataclass
class _Writer:
    steps: list[Step] = field(default_factory=list)
    _seats: dict[str, Seat] = field(default_factory=dict)
    _history: list[Pair] = field(default_factory=list)
    _now_ms: int = NOW_MS
    _offset: int = 0
    _messages: int = 0

    def publish(self, command: cm.PublicCommand) -> None:
        value = avro.encode_command(command)
        self.steps.append(Step(COMMANDS, ((command.instance_id.encode(), value),)))

    def commit(self) -> None:
        if self._history:
            self.steps.append(Step(HISTORY, tuple(self._history)))
            self._history = []

    def settle(self, commands: list[Any]) -> None:
        """Takes these commands, and all that follows from them, to their end."""
        while commands:
            records = tuple((each.instance_id.encode(), avro.encode_command(each)) for each in commands)
            # What the ingress forwards says where it came from.
            is_forwarded = isinstance(commands[0], cm.PUBLIC_COMMANDS)
            self.steps.append(Step(INBOX, records, FORWARDED if is_forwarded else ()))
            follows: list[Any] = []
            messages: list[Any] = []
            for command, (_, record) in zip(commands, records, strict=True):
                for effect in self._take(command, record):
                    follows += _consequence(effect)
                    messages += [effect.message] if isinstance(effect, ef.SendMessage) else []
            if messages:
                # What goes to another instance leaves after the commit that records it.
                self._note_messages(messages)
                self.commit()
            commands = follows + messages

    def _take(self, command: Any, record: bytes) -> list[ef.Effect]:
        seat = self._seats.setdefault(command.instance_id, Seat(instance_id=command.instance_id))
        self._offset += 1
        if isinstance(command, cm.FireTimer):
            # Early by the record's clock, it would be armed again, for ever.
            self._now_ms = max(self._now_ms, command.due_at_ms)
        new_run_id = run_id_of_start(TOPIC_ID, 0, self._offset, self._now_ms)
        moment = Moment(offset=self._offset, timestamp_ms=self._now_ms, new_run_id=new_run_id, record=record)
        turn = take_turn(seat, command, moment, flows.app.registry)
        for recorded in turn.recorded:
            key = history_key(seat.instance_id, recorded.run_id, recorded.sequence)
            self._history.append((key, avro.encode_event(seat.instance_id, recorded)))
        return turn.effects

    def _note_messages(self, messages: list[cm.ChannelMessage]) -> None:
        for message in messages:
            self._messages += 1
            self._history.append((out_key(TOPIC_ID, 0, self._messages), avro.encode_command(message)))


def _consequence(effect: ef.Effect) -> list[Any]:
    """The inbox record that the world answers an effect with."""
    if isinstance(effect, ef.RunActivity):
        result = flows.app.registry.activities[effect.name].function(None, decode_value(effect.input))
        return [
            cm.CompleteActivity(
                instance_id=effect.instance_id,
                run_id=effect.run_id,
                scheduled=effect.scheduled,
                call_id=effect.call_id,
                attempt=effect.attempt,
                result=encode_value(result, "a result"),
            )
        ]
    if isinstance(effect, ef.ArmTimer):
        return [
            cm.FireTimer(
                instance_id=effect.instance_id,
                run_id=effect.run_id,
                timer=effect.timer,
                due_at_ms=effect.due_at_ms,
            )
        ]
    return []
