"""Clients that load the engine, and what they saw.

`asyncio` is the product's own, `raw` the leanest there can be.
An outcome counts when it was read from committed history, and never earlier.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.links import EmbeddedPlace, KafkaPlace, Link, Place, open_link
from engine.client import AsyncWorkflowClient
from engine.codec import avro
from engine.codec.schemas import HEADER_BYTES
from engine.core.values import decode_value, encode_value
from engine.model import commands as cm
from engine.model.events import InstanceCompleted

KINDS = ("raw", "asyncio")
POLL_SECONDS = 0.05
STARTED = "InstanceStarted"
FAILED = "<failed>"


@dataclass(frozen=True)
class Start:
    """Asks for a run."""

    instance_id: str
    workflow: str
    input: Any


@dataclass(frozen=True)
class Raise:
    """Raises an event on an instance."""

    instance_id: str
    event: str
    data: Any


Ask = Start | Raise


@dataclass
class Burst:
    """What came of many asks. Times are of one clock; what is not in `seen_at` had no outcome in time."""

    began_at: dict[str, float] = field(default_factory=dict)
    seen_at: dict[str, float] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def latencies(self) -> list[float]:
        """Ask to outcome, of those that have one."""
        return [self.seen_at[each] - self.began_at[each] for each in self.seen_at]

    @property
    def missing(self) -> int:
        """How many had no outcome in time."""
        return len(self.began_at) - len(self.seen_at)

    def wrong(self, expected: Callable[[str], Any]) -> int:
        """How many outcomes are not what `expected` says of their instance."""
        return sum(expected(each) != result for each, result in self.results.items())


class Client(ABC):
    """A client process's view of an app. One thread uses it."""

    kind: str

    @abstractmethod
    def burst(self, asks: Iterable[Ask], window: int, seconds_max: float) -> Burst:
        """Publishes these, at most `window` without an outcome at once, and waits for all outcomes."""

    @abstractmethod
    def begin(self, starts: Iterable[Start], window: int, seconds_max: float) -> None:
        """Publishes these starts and returns when all of their runs are on record. Raises TimeoutError."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything."""


def open_client(kind: str, place: Place) -> Client:
    """A client of one of KINDS."""
    return RawClient(open_link(place)) if kind == "raw" else AsyncioClient(place)


# --- raw ---


class RawClient(Client):
    """One producer, one reader, one thread: outcomes are told by the first bytes of their records."""

    kind = "raw"

    def __init__(self, link: Link) -> None:
        self.link = link

    def burst(self, asks: Iterable[Ask], window: int, seconds_max: float) -> Burst:
        burst, values = Burst(), {}
        clock, publish, poll = time.perf_counter, self.link.publish, self.link.poll
        began_at, seen_at, terminal = burst.began_at, burst.seen_at, avro.terminal_fingerprints
        todo = _encoded(asks)
        began = clock()
        while clock() - began < seconds_max:
            while len(began_at) - len(seen_at) < window and (ask := next(todo, None)) is not None:
                instance_id, key, value = ask
                began_at[instance_id] = clock()
                publish(key, value)
            if len(began_at) == len(seen_at):
                break
            records = poll(POLL_SECONDS)
            now = clock()
            for key, value in records:
                if value is None or value[:HEADER_BYTES] not in terminal:
                    continue
                instance_id = _instance_of(key)
                if instance_id in began_at and instance_id not in seen_at:
                    seen_at[instance_id], values[instance_id] = now, value
        burst.seconds = max(seen_at.values(), default=began) - began
        burst.results = {instance_id: _output_of(value) for instance_id, value in values.items()}
        return burst

    def begin(self, starts: Iterable[Start], window: int, seconds_max: float) -> None:
        deadline, open_ids = time.monotonic() + seconds_max, set()
        todo, is_done = _encoded(starts), False
        while not is_done or open_ids:
            while len(open_ids) < window and not is_done:
                ask = next(todo, None)
                is_done = ask is None
                if ask is not None:
                    open_ids.add(ask[0])
                    self.link.publish(ask[1], ask[2])
            for key, value in self.link.poll(POLL_SECONDS):
                if value is not None and avro.kind_of(value) == STARTED:
                    open_ids.discard(_instance_of(key))
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(open_ids)} starts are not on record after {seconds_max} s")

    def close(self) -> None:
        self.link.close()


def _encoded(asks: Iterable[Ask]) -> Iterator[tuple[str, bytes, bytes]]:
    """Encoded as they are needed: that is a client's work, and belongs into the measured time."""
    for ask in asks:
        yield ask.instance_id, ask.instance_id.encode(), avro.encode_command(command_of(ask))


def command_of(ask: Ask) -> cm.PublicCommand:
    """The command that an ask becomes."""
    if isinstance(ask, Start):
        payload = encode_value(ask.input, "the input")
        return cm.StartInstance(instance_id=ask.instance_id, workflow=ask.workflow, input=payload)
    return cm.RaiseEvent(
        instance_id=ask.instance_id, name=ask.event, data=encode_value(ask.data, "the event")
    )


def _instance_of(key: bytes) -> str:
    return key.rsplit(b"|", 2)[0].decode()


def _output_of(value: bytes) -> Any:
    event = avro.decode_event(value)[1].event
    return decode_value(event.output) if isinstance(event, InstanceCompleted) else FAILED


# --- asyncio ---


class AsyncioClient(Client):
    """`AsyncWorkflowClient`: what a user's asyncio program has."""

    kind = "asyncio"

    def __init__(self, place: Place) -> None:
        self._loop = asyncio.new_event_loop()
        if isinstance(place, KafkaPlace):
            self._client = AsyncWorkflowClient.kafka(
                bootstrap_servers=place.bootstrap_servers, app=place.app, namespace=place.namespace
            )
        else:
            assert isinstance(place, EmbeddedPlace)
            self._client = AsyncWorkflowClient.embedded(place.directory)

    def burst(self, asks: Iterable[Ask], window: int, seconds_max: float) -> Burst:
        burst, todo = Burst(), iter(asks)
        began = time.perf_counter()
        self._loop.run_until_complete(self._many(lambda: self._work(todo, burst, seconds_max), window))
        burst.seconds = max(burst.seen_at.values(), default=began) - began
        return burst

    def begin(self, starts: Iterable[Start], window: int, seconds_max: float) -> None:
        todo = iter(starts)
        self._loop.run_until_complete(self._many(lambda: self._begin(todo, seconds_max), window))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _many(self, work: Callable[[], Any], count: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(work())

    async def _work(self, todo: Iterator[Ask], burst: Burst, seconds_max: float) -> None:
        for ask in todo:
            burst.began_at[ask.instance_id] = time.perf_counter()
            await self._publish(ask)
            try:
                state = await self._client.wait_for_workflow_completion(
                    ask.instance_id, timeout_in_seconds=seconds_max
                )
            except TimeoutError:
                continue
            burst.seen_at[ask.instance_id] = time.perf_counter()
            is_completed = state.runtime_status.name == "COMPLETED"
            burst.results[ask.instance_id] = state.output if is_completed else FAILED

    async def _publish(self, ask: Ask) -> None:
        if isinstance(ask, Start):
            await self._client.schedule_new_workflow(
                ask.workflow, input=ask.input, instance_id=ask.instance_id
            )
        else:
            await self._client.raise_workflow_event(ask.instance_id, ask.event, data=ask.data)

    async def _begin(self, todo: Iterator[Start], seconds_max: float) -> None:
        for start in todo:
            await self._publish(start)
            await self._client.wait_for_workflow_start(start.instance_id, timeout_in_seconds=seconds_max)
