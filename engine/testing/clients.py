"""The clients of a simulation: they publish, look at what is committed, and hold it to the model's answer."""

import random
from collections.abc import Generator
from functools import partial

import msgspec

from engine.codec import avro
from engine.codec.topics import partition_of
from engine.model import commands as cm
from engine.model.failure import Payload
from engine.partition.ports import Record
from engine.testing import programs
from engine.testing.memory_broker import MemoryBroker, Violation
from engine.testing.model import Entry, OneOf, matches, outcome_of
from engine.testing.view import View

LOOK_MS = 300
Life = Generator[int, None, None]


class Client:
    """One instance's whole story, perhaps with its id used twice."""

    def __init__(self, broker: MemoryBroker, view: View, instance_id: str, rng: random.Random) -> None:
        self.instance_id = instance_id
        self.is_done = False
        self.doing = "beginning"
        self.told: list[tuple[str, object]] = []
        self.published: list[Record] = []
        self.is_purged = False
        self._broker = broker
        self._view = view
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
            drawing = programs.Drawing(self._rng)
            program = drawing.program()
            expected: Entry = OneOf(outcome_of(program, drawing.events))
            yield from self._start(program)
            # A child that takes its ended parent's id is allowed, and would confuse only us.
            has_clash = b'"clash":true' in msgspec.json.encode(program)
            if not has_clash and self._rng.random() < 0.08:
                yield from self._purge_by_force()
                continue
            yield from self._raise_all(drawing.events)
            if not drawing.events and self._rng.random() < 0.3:
                # Refused, or the beginning of a second run that comes to the same.
                yield self._rng.randrange(500)
                yield from self._start(program)
            if not has_clash and self._rng.random() < 0.15:
                yield from self._terminate()
                expected = OneOf(*expected.entries, ("TERMINATED", "stop"))
            yield from self._wait_for_end(expected)
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
            self._publish(cm.RaiseEvent(instance_id=self.instance_id, name=spelled, data=data))
        if is_suspended or self._rng.random() < 0.1:
            self._publish(cm.SuspendInstance(instance_id=self.instance_id))
            yield self._rng.randrange(2_000)
            self._publish(cm.ResumeInstance(instance_id=self.instance_id))

    def _terminate(self) -> Life:
        yield int(3_000 * self._rng.random() ** 2)
        output = Payload(msgspec.json.encode("stop"))
        self._publish(cm.TerminateInstance(instance_id=self.instance_id, output=output))

    def _wait_for_end(self, expected: Entry) -> Life:
        self.doing = f"waiting for {self.instance_id} to be {expected}"
        yield from self._until_taken(self.published[-1])
        while True:
            self._view.catch_up()
            end = self._view.end_of(self.instance_id)
            if end is not None:
                break
            yield LOOK_MS
        if not any(_is_end(each, end) for each in expected.entries):
            raise Violation(f"I11: {self.instance_id} ended as {end}, but was expected to be {expected}")
        self.told.append(end)

    def _purge(self) -> Life:
        yield from self._purge_with(cm.PurgeInstance(instance_id=self.instance_id))

    def _purge_by_force(self) -> Life:
        yield int(2_000 * self._rng.random() ** 2)
        yield from self._purge_with(cm.PurgeInstance(instance_id=self.instance_id, force=True))

    def _purge_with(self, command: cm.PurgeInstance) -> Life:
        record = self._publish(command)
        self.doing = f"waiting for the purge of {self.instance_id}"
        yield from self._until_taken(record)
        if self._view.is_known(self.instance_id):
            raise Violation(f"I10: {self.instance_id} is still there after its purge was committed")
        self.is_purged = True

    def _publish(self, command: cm.PublicCommand) -> Record:
        broker = self._broker
        key = self.instance_id.encode()
        partition = sum(key) % len(broker.commands)
        record = broker.publish(partition, key, avro.encode_command(command))
        self.published.append(record)
        return record


class Vandal:
    """Publishes what no one can read, into everybody's topic."""

    def __init__(self, broker: MemoryBroker, rng: random.Random) -> None:
        self.published: list[Record] = []
        self._broker = broker
        self._rng = rng

    def begin(self, count: int, within_ms: int) -> None:
        """Spreads its deeds over the time."""
        for _ in range(count):
            due_ms = self._broker.now_ms + self._rng.randrange(within_ms)
            self._broker.at(due_ms, partial(self._publish, self._rng.randbytes(self._rng.randrange(40))))

    def _publish(self, value: bytes) -> None:
        partition = self._rng.randrange(len(self._broker.commands))
        key = self._rng.choice((b"", b"\xff\xfe", b"w0", b"~checkpoint"))
        self.published.append(self._broker.publish(partition, key, value))


def _is_end(expected: tuple[str, Entry], end: tuple[str, object]) -> bool:
    return expected[0] == end[0] and matches(expected[1], end[1])
