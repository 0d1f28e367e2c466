"""Waits where the log's tail breaks, or the read model is late: nothing is missed, nobody forgotten."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.codec.topics import partition_of
from engine.errors import LogDamagedFault
from engine.gateway import follower, service, waits
from engine.gateway.measures import Measures
from engine.gateway.service import LATE_READERS, READERS, Service
from engine.gateway.waits import Until
from engine.model import events as ev
from engine.projection import Projection, Reach
from tests.projection.made_log import PARTITIONS, MadeLog, MadeTail

WAIT_S = 20
INSTANCE = "order-1"
RUN = "run-1"
STARTED = (INSTANCE, RUN, 1, ev.InstanceStarted(workflow="w"))
COMPLETED = (INSTANCE, RUN, 2, ev.InstanceCompleted())


class Breaking:
    """A connection whose tails can be broken, while those of the log itself go on."""

    def __init__(self, log: MadeLog) -> None:
        self.log = log
        self.is_broken = False
        self.broke = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)

    def open_tail(self) -> BreakingTail:
        return BreakingTail(self)


class BreakingTail(MadeTail):
    def __init__(self, connection: Breaking) -> None:
        super().__init__(connection.log)
        self.connection = connection

    def poll(self, timeout_ms: int) -> list:
        if self.connection.is_broken:
            self.connection.broke.set()
            message = "what was read is there no more"
            raise LogDamagedFault(message, 0)
        return super().poll(timeout_ms)


@asynccontextmanager
async def asked(connection: Breaking, path: Path):
    projection = Projection(connection.log, path / "read.sqlite3")
    projection.start()
    made = Service(connection, projection, Measures())
    await made.start()
    try:
        yield made
    finally:
        await made.close()
        projection.close()


def run(story, path: Path) -> None:
    async def told() -> None:
        log = MadeLog()
        log.commit(STARTED)
        connection = Breaking(log)
        async with asked(connection, path) as made:
            await story(connection, made)

    asyncio.run(asyncio.wait_for(told(), WAIT_S))


def watching(made: Service) -> asyncio.Event:
    """Set when somebody begins to watch."""
    begun, watch = asyncio.Event(), made.feed.watch

    def noting(*arguments: object) -> object:
        begun.set()
        return watch(*arguments)

    made.feed.watch = noting
    return begun


def test_a_wait_whose_tail_had_to_skip_something_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "PAUSE_S", 0.01)

    async def story(connection: Breaking, made: Service) -> None:
        begun = watching(made)
        waiting = asyncio.create_task(waits.wait(made, INSTANCE, Until.COMPLETED.is_met, WAIT_S))
        await begun.wait()
        connection.is_broken = True
        await asyncio.to_thread(connection.broke.wait, WAIT_S)
        connection.log.commit(COMPLETED)
        connection.is_broken = False
        assert Until.COMPLETED.is_met(await waiting)

    run(story, tmp_path)


def test_a_stream_that_missed_something_ends_so_that_its_reader_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "PAUSE_S", 0.01)

    async def story(connection: Breaking, made: Service) -> None:
        begun = watching(made)
        everything = aiter(waits.all_events(made))
        coming = asyncio.ensure_future(anext(everything))
        await begun.wait()
        connection.is_broken = True
        await asyncio.to_thread(connection.broke.wait, WAIT_S)
        connection.log.commit(COMPLETED)
        connection.is_broken = False
        with pytest.raises(StopAsyncIteration):
            await coming

    run(story, tmp_path)


def test_a_wait_whose_time_is_over_is_answered_by_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(connection: Breaking, made: Service) -> None:
        await asyncio.wrap_future(made.projection.reached(connection.ends()))
        monkeypatch.setattr(made, "find", None)
        looked = asyncio.Event()

        def is_met(instance: object) -> bool:
            looked.set()
            return False

        waiting = asyncio.create_task(waits.wait(made, INSTANCE, is_met, 0.2))
        await looked.wait()
        found = await waiting
        assert found is not None
        assert found.row.instance_id == INSTANCE

    run(story, tmp_path)


def test_who_asks_the_read_model_does_not_wait_behind_those_who_read_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FRESH_WAIT_S", 0.01)
    begun, hold = threading.Semaphore(0), threading.Event()

    def read_long() -> bool:
        begun.release()
        return hold.wait(WAIT_S)

    async def story(connection: Breaking, made: Service) -> None:
        late = [
            asyncio.create_task(made._read_one(INSTANCE, lambda _: False, read_long, 1_000_000))
            for _ in range(2 * READERS)
        ]
        try:
            for _ in range(LATE_READERS):
                await asyncio.to_thread(begun.acquire)
            assert await made.read(lambda reader: len(reader.positions())) == PARTITIONS
        finally:
            hold.set()
        assert all(await asyncio.gather(*late))

    run(story, tmp_path)


def test_a_reach_never_goes_back_however_late_somebody_says_where_it_was() -> None:
    reach = Reach()
    reach.advance({0: 10, 1: 5})
    reach.advance({0: 7, 1: 6})

    assert reach.positions == {0: 10, 1: 6}


def test_a_commit_counts_though_the_next_has_begun(tmp_path: Path) -> None:
    async def story(connection: Breaking, made: Service) -> None:
        partition = partition_of(INSTANCE, PARTITIONS)
        for number in range(2, 5):
            end = connection.ends()[partition]
            with connection.log.changed:
                connection.log.commit((INSTANCE, RUN, number, ev.CustomStatusSet(status="1")))
                connection.log.tear((INSTANCE, RUN, number + 1, ev.CustomStatusSet(status="2")))
            wanted = {partition: end + 2}
            await asyncio.wrap_future(made.projection.reached(wanted))
            await asyncio.wrap_future(made.feed.reach.reached(wanted))

    run(story, tmp_path)
