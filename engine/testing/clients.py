"""The clients of a simulation: they publish, look at what is committed, and hold it to the model's answer."""

import random
from collections.abc import Generator

import msgspec

from engine.codec import avro
from engine.codec.topics import REPLY_TO_HEADER, ReplyTo, format_reply_to, partition_of
from engine.model import commands as cm
from engine.model.failure import Payload
from engine.partition.ports import Headers, Record
from engine.testing import programs
from engine.testing.memory_broker import MemoryBroker, Violation
from engine.testing.model import Entry, OneOf, culprit, matches, outcome_of
from engine.testing.view import View

LOOK_MS = 300
Life = Generator[int, None, None]

# Which invariant a wrong entry of the trace speaks against.
_BROKEN_BY = {"activity": "I3", "fan": "I3", "wait": "I4", "queue": "I4", "timer": "I5"}

_LETTER = ("source.topic", "source.partition", "source.offset", "reason")


class Operator:
    """Ends what only people can mend: runs that stall. Which families it has touched it remembers."""

    def __init__(self, broker: MemoryBroker, view: View) -> None:
        self.ended: set[str] = set()
        self._broker = broker
        self._view = view
        self._asked: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Looks now, and every second from now on."""
        self._view.catch_up()
        for instance_id, run_id in self._view.stalled():
            if (instance_id, run_id) in self._asked:
                continue
            self._asked.add((instance_id, run_id))
            self.ended.add(instance_id.partition(":")[0])
            publish(self._broker, cm.TerminateInstance(instance_id=instance_id))
        self._broker.at(self._broker.now_ms + 1_000, self.begin)


def publish(broker: MemoryBroker, command: cm.PublicCommand) -> Record:
    """One command, where every command of that instance goes. Every third one asks for a reply."""
    key, number = command.instance_id.encode(), len(broker.published)
    reply_to = format_reply_to(ReplyTo("client", str(number)))
    headers: Headers = ((REPLY_TO_HEADER, reply_to),) if number % 3 == 1 else ()
    return broker.publish(sum(key) % len(broker.commands), key, avro.encode_command(command), headers)


class Client:
    """One instance's whole story, perhaps with its id used twice."""

    def __init__(
        self, broker: MemoryBroker, view: View, operator: Operator, instance_id: str, rng: random.Random
    ) -> None:
        self.instance_id = instance_id
        self.has_pill = False
        self.is_done = False
        self.doing = "beginning"
        self.told: list[tuple[str, object]] = []
        self.published: list[Record] = []
        self.raised: list[Record] = []
        self.is_purged = False
        self._broker = broker
        self._view = view
        self._operator = operator
        self._rng = rng
        self._partition = partition_of(instance_id, broker.identity.partitions)
        self._life = self._live()

    def begin(self, delay_ms: int) -> None:
        """Comes to life."""
        self._broker.at(self._broker.now_ms + delay_ms, self._go_on)

    def _go_on(self) -> None:
        try:
            delay_ms = next(self._life)
        except StopIteration:
            self.is_done = True
            self.doing = "done"
        else:
            self._broker.at(self._broker.now_ms + delay_ms, self._go_on)

    # --- the story ---

    def _live(self) -> Life:
        for _ in range(self._rng.choice((1, 1, 2))):
            self.is_purged = False
            drawing = programs.Drawing(self._rng, has_pill=self.has_pill)
            program = drawing.program()
            yield from self._start(program)
            text = msgspec.json.encode(program)
            # A child that takes its ended parent's id is allowed, and would confuse only us.
            has_clash = b'"clash":true' in text
            if not has_clash and self._rng.random() < 0.08:
                yield from self._purge_by_force()
                continue
            yield from self._raise_all(drawing.events)
            if not drawing.events and self._rng.random() < 0.3:
                # Refused, or the beginning of a second run that comes to the same.
                yield self._rng.randrange(500)
                yield from self._start(program)
            ends: list[tuple[str, Entry]] = [outcome_of(program, drawing.events)]
            if not has_clash and self._rng.random() < 0.15:
                # A child that outlives its parent would be in the way of a later one of its name.
                yield from self._terminate(recursive=b'"named":true' in text or self._rng.random() < 0.7)
                ends.append(("TERMINATED", "stop"))
            yield from self._wait_for_end(program, drawing.events, ends)
            if self._rng.random() < 0.5:
                yield from self._purge()

    def _start(self, program: programs.Program) -> Life:
        start_at_ms = self._broker.now_ms + 500 if self._rng.random() < 0.1 else None
        self.doing = f"waiting for the start of {program}"
        payload = Payload(msgspec.json.encode(program))
        start = cm.StartInstance(
            instance_id=self.instance_id, workflow=programs.WORKFLOW, input=payload, start_at_ms=start_at_ms
        )
        record = self._publish(start)
        if self._rng.random() < 0.1:
            yield self._rng.randrange(30)
        else:
            yield from self._until_taken(record)

    def _until_taken(self, record: Record) -> Life:
        self._view.catch_up()
        while not self._view.is_taken(self._partition, record):
            yield LOOK_MS
            self._view.catch_up()

    def _raise_all(self, events: list[tuple[str, int]]) -> Life:
        is_suspended = False
        for name, value in events:
            yield int(2_000 * self._rng.random() ** 4)
            if self._rng.random() < 0.1 and not is_suspended:
                self._publish(cm.SuspendInstance(instance_id=self.instance_id))
                is_suspended = True
            data = Payload(msgspec.json.encode(value))
            spelled = name.upper() if self._rng.random() < 0.2 else name
            raised = self._publish(cm.RaiseEvent(instance_id=self.instance_id, name=spelled, data=data))
            self.raised.append(raised)
        if is_suspended or self._rng.random() < 0.1:
            self._publish(cm.SuspendInstance(instance_id=self.instance_id))
            yield self._rng.randrange(2_000)
            self._publish(cm.ResumeInstance(instance_id=self.instance_id))

    def _terminate(self, *, recursive: bool) -> Life:
        yield int(3_000 * self._rng.random() ** 2)
        output = Payload(msgspec.json.encode("stop"))
        self._publish(cm.TerminateInstance(instance_id=self.instance_id, output=output, recursive=recursive))

    def _wait_for_end(
        self, program: programs.Program, events: list[tuple[str, int]], ends: list[tuple[str, Entry]]
    ) -> Life:
        self.doing = f"waiting for {self.instance_id} to be {OneOf(*ends)}"
        yield from self._until_taken(self.published[-1])
        while True:
            self._view.catch_up()
            end = self._view.end_of(self.instance_id)
            if end is not None:
                break
            yield LOOK_MS
        is_excused = self.instance_id in self._operator.ended or self._view.is_stale
        if not is_excused and not any(_is_end(each, end) for each in ends):
            broken = _BROKEN_BY.get(culprit(program, events, end[1]) or "", "I6")
            raise Violation(f"{broken}: {self.instance_id} ended as {end}, expected was {OneOf(*ends)}")
        self.told.append(end)

    def _purge(self) -> Life:
        yield from self._purge_with(cm.PurgeInstance(instance_id=self.instance_id))

    def _purge_by_force(self) -> Life:
        yield int(2_000 * self._rng.random() ** 2)
        yield from self._purge_with(cm.PurgeInstance(instance_id=self.instance_id, force=True))

    def _purge_with(self, command: cm.PurgeInstance) -> Life:
        self.doing = f"waiting for the purge of {self.instance_id}"
        yield from self._until_taken(self._publish(command))
        while self._view.is_known(self.instance_id) and not self._view.is_stale:
            if not self._is_given_up(self.published[-1]):
                raise Violation(f"I1: {self.instance_id} is still there after its purge was committed")
            # An operator ends the run that stalled, and then this is asked for again.
            while self._is_stalled():
                yield LOOK_MS
            yield from self._until_taken(self._publish(command))
        self.is_purged = True

    def _is_stalled(self) -> bool:
        self._view.catch_up()
        return any(instance_id == self.instance_id for instance_id, _ in self._view.stalled())

    def _is_given_up(self, command: Record) -> bool:
        """Whether it was quarantined: its turns met the end of their process three times."""
        place = (b"commands", str(command.partition).encode(), str(command.offset).encode())
        return self._is_stalled() or (*place, b"WorkerCrashed") in (
            tuple(dict(letter.headers)[name] for name in _LETTER)
            for letter in self._broker.deadletters.records
        )

    def _publish(self, command: cm.PublicCommand) -> Record:
        record = publish(self._broker, command)
        self.published.append(record)
        return record


def _is_end(expected: tuple[str, Entry], end: tuple[str, object]) -> bool:
    return expected[0] == end[0] and matches(expected[1], end[1])
