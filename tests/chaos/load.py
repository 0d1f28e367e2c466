"""The client: publishes random programs to `commands`, and knows what each must come to."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from engine.testing import programs
from engine.testing.model import OneOf, outcome_of

# As the auditor tells it, whatever the output.
TERMINATED = "terminated"
# For longer than any outage that is caused here: a start that was given up could still have arrived.
DELIVERY_MS_MAX = 600_000
FLUSH_SECONDS_MAX = 300.0


@dataclass
class Published:
    """A program, and what was published to it."""

    program: programs.Program
    expected: OneOf
    commands: Counter[str] = field(default_factory=Counter)
    unacknowledged: int = 0


class Load:
    """Keeps so many programs in flight. One thread; never waits."""

    def __init__(self, bootstrap_servers: str, topic: str, seed: str, in_flight: int) -> None:
        self.programs: dict[str, Published] = {}
        self.is_open = True
        self._topic = topic
        self._rng = random.Random(seed)
        self._in_flight = in_flight
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, str, dict[str, Any]]] = []
        self._order = itertools.count()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "delivery.timeout.ms": DELIVERY_MS_MAX,
                "log_level": 0,
            }
        )

    def step(self, ended: Collection[str]) -> None:
        """Publishes what is due, and new programs in the place of those that have ended."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, instance_id, command = heapq.heappop(self._due)
            self._publish(instance_id, command)
        while self.is_open and len(self.programs) - len(ended) < self._in_flight:
            self._begin(f"p{next(self._numbers)}", now)
        self._producer.poll(0)

    @property
    def is_published(self) -> bool:
        """Whether nothing is left to be published or acknowledged."""
        return not self._due and not len(self._producer)

    def close(self) -> None:
        """Waits for what is on its way."""
        self._producer.flush(FLUSH_SECONDS_MAX)

    def _begin(self, instance_id: str, now: float) -> None:
        rng = self._rng
        drawing = programs.Drawing(rng)
        program = drawing.program()
        published = Published(program, OneOf(outcome_of(program, drawing.events)))
        self.programs[instance_id] = published
        self._publish(instance_id, {"type": "StartInstance", "workflow": programs.WORKFLOW, "input": program})
        at = now
        spread = rng.choice((0, 0, 1, 4))
        for name, value in drawing.events:
            at += rng.random() * spread
            self._plan(at, instance_id, {"type": "RaiseEvent", "name": name, "data": value})
        if rng.random() < 0.1:
            self._plan(now + rng.random(), instance_id, {"type": "SuspendInstance"})
            self._plan(now + 1 + rng.random() * 3, instance_id, {"type": "ResumeInstance"})
        # A child that takes its ended parent's id is allowed, and would confuse only us.
        if '"clash": true' not in json.dumps(program) and rng.random() < 0.08:
            published.expected.entries = (*published.expected.entries, ("TERMINATED", TERMINATED))
            terminate = {"type": "TerminateInstance", "output": "stop"}
            self._plan(now + rng.random() * 3, instance_id, terminate)

    def _plan(self, at: float, instance_id: str, command: dict[str, Any]) -> None:
        heapq.heappush(self._due, (at, next(self._order), instance_id, command))

    def _publish(self, instance_id: str, command: dict[str, Any]) -> None:
        published = self.programs[instance_id]
        published.commands[command["type"]] += 1
        published.unacknowledged += 1

        def acknowledged(error: object, _: object) -> None:
            assert error is None, f"a command was not published: {error}"
            published.unacknowledged -= 1

        value = json.dumps(command | {"instance_id": instance_id}).encode()
        self._producer.produce(self._topic, value, instance_id.encode(), on_delivery=acknowledged)
