"""Waits and streams: woken by the feed of history, never by the read model, which says what was before."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from enum import StrEnum
from typing import Self

import msgspec

from engine.client.errors import UnreachableError
from engine.codec.avro import UndecodableError, decode_event, kind_of
from engine.gateway.service import Service
from engine.model.events import Recorded
from engine.model.state import FINISHED_STATUSES, Status
from engine.partition.ports import Record
from engine.projection import Instance, Run


class Until(StrEnum):
    """What a wait is for."""

    COMPLETED = "completed"
    STARTED = "started"

    def is_met(self, instance: Instance | None) -> bool:
        """Whether it has come."""
        if instance is None:
            return False
        status = instance.row.status
        return status in FINISHED_STATUSES or (self is Until.STARTED and status is not Status.PENDING)


class Happened(msgspec.Struct, frozen=True):
    """An event of an instance, as a stream tells it."""

    instance_id: str
    recorded: Recorded


async def wait(
    service: Service, instance_id: str, is_met: Callable[[Instance | None], bool], timeout_s: float
) -> Instance | None:
    """The instance as soon as `is_met`, or as it is when the time is over, or the gateway's is.

    Raises UnreachableError.

    Whoever waited so long is not let wait for yet another look.
    """
    following = _Following(service, instance_id)
    try:
        async with service.waiting(timeout_s), following:
            await following.until(is_met)
    except TimeoutError:
        if following.run is None:
            # Not even what is on record could be read in that time.
            return await service.find(instance_id)
    assert following.run is not None, "expected a run that was begun"
    service.was_told(instance_id, following.run.position)
    return following.run.shown()


async def events(
    service: Service, instance_id: str, after: tuple[str, int] | None = None
) -> AsyncIterator[Recorded]:
    """Every event of an instance, those on record first, and then as they come, run after run.

    `after` leaves out what came up to this event, (run id, number), while that run is the newest.
    """
    async with _Following(service, instance_id) as following:
        run = await following.begin()
        found = list(run.events)
        while True:
            service.was_told(instance_id, run.position)
            for recorded in [each for each in found if _is_behind(each, after)]:
                yield recorded
            found = await following.next()


async def all_events(service: Service, types: Collection[str] | None = None) -> AsyncIterator[Happened]:
    """Every event of every instance, or those of some types, from now on."""
    woken = asyncio.Event()
    watch = service.feed.watch(None, _from_any_thread(woken))
    try:
        while not watch.is_cut:
            await woken.wait()
            woken.clear()
            # Most are passed over, and not even decoded.
            meant = [each for each in watch.take() if not types or kind_of(each.value or b"") in types]
            for happened in filter(None, map(_happened, meant)):
                yield happened
    finally:
        service.feed.leave(None, watch)


class _Following:
    """One instance, from what is on record on."""

    def __init__(self, service: Service, instance_id: str) -> None:
        self._service = service
        self._instance_id = instance_id
        self._woken = asyncio.Event()
        # As it is known so far.
        self.run: Run | None = None

    async def __aenter__(self) -> Self:
        self._begin_watch()
        return self

    async def __aexit__(self, *problem: object) -> None:
        self._end_watch()

    def _begin_watch(self) -> None:
        self._watch = self._service.feed.watch(self._instance_id, _from_any_thread(self._woken))

    def _end_watch(self) -> None:
        self._service.feed.leave(self._instance_id, self._watch)

    async def until(self, is_met: Callable[[Instance | None], bool]) -> None:
        """Follows it until then. Where the watch was cut, it looks at what is on record again."""
        run = await self.begin()
        while not is_met(run.shown()):
            await self._woken.wait()
            self._woken.clear()
            if self._watch.is_cut:
                self._end_watch()
                self._begin_watch()
                run = await self.begin()
            else:
                self._take(run)

    async def begin(self) -> Run:
        """The run as it is on record. What comes after it, the watch brings."""
        self.run = await self._service.run(self._instance_id)
        return self.run

    async def next(self) -> list[Recorded]:
        """Waits for more, and returns what it brought."""
        assert self.run is not None, "expected `begin` before `next`"
        await self._woken.wait()
        self._woken.clear()
        if self._watch.is_cut:
            message = f"expected to keep up with {self._instance_id!r}, but some of it was missed"
            raise UnreachableError(message)
        return self._take(self.run)

    def _take(self, run: Run) -> list[Recorded]:
        added = [run.add(record) for record in self._watch.take()]
        return [recorded for recorded in added if recorded is not None]


def _happened(record: Record) -> Happened | None:
    if record.value is None:
        return None
    try:
        return Happened(*decode_event(record.value))
    except UndecodableError:
        # Only a newer engine can read it.
        return None


def _is_behind(recorded: Recorded, after: tuple[str, int] | None) -> bool:
    return after is None or recorded.run_id != after[0] or recorded.sequence > after[1]


def _from_any_thread(woken: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def wake() -> None:
        # A loop that was closed has nobody left who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    return wake
