"""What threads bring to an event loop: all of it, in order, and with few wakings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

from engine.client.loop import TICK_S, Deadlines, LoopQueue, Wakeup

PATIENCE_S = 30


class CountingLoop:
    """A loop that only counts how often it is woken, and runs nothing until it is told to."""

    def __init__(self) -> None:
        self.woken = []

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, callback) -> None:
        self.woken.append(callback)


class TimerCountingLoop:
    """A loop whose time stands still; its timers run when the test runs them."""

    def __init__(self) -> None:
        self.timers: dict[float, Callable[[], None]] = {}

    def time(self) -> float:
        return 1_000.005

    def call_at(self, at: float, callback, *arguments) -> SimpleNamespace:
        assert at not in self.timers, "a second timer for the same tick"
        self.timers[at] = partial(callback, *arguments)
        return SimpleNamespace(cancel=lambda: self.timers.pop(at))


def test_many_results_at_once_wake_the_loop_once():
    loop, seen = CountingLoop(), []
    queue = LoopQueue(loop)
    for number in range(100):
        queue.call_soon(lambda number=number: seen.append(number))
    assert len(loop.woken) == 1
    loop.woken.pop()()
    assert seen == list(range(100))
    queue.call_soon(lambda: seen.append("later"))
    assert len(loop.woken) == 1


def test_what_threads_bring_arrives_in_the_order_of_each():
    async def main() -> list[tuple[int, int]]:
        queue, seen, done = LoopQueue(asyncio.get_running_loop()), [], asyncio.Event()

        def bring(who: int) -> None:
            for number in range(500):
                queue.call_soon(lambda number=number: seen.append((who, number)))

        threads = [threading.Thread(target=bring, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        queue.call_soon(done.set)
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        return seen

    seen = asyncio.run(main())
    assert len(seen) == 2_000
    for who in range(4):
        assert [number for each, number in seen if each == who] == list(range(500))


def test_a_future_is_settled_by_another_thread_with_a_result_or_an_error():
    async def main() -> None:
        queue = LoopQueue(asyncio.get_running_loop())
        good, settle_good = queue.later()
        bad, settle_bad = queue.later()
        given_up, settle_given_up = queue.later()
        given_up.cancel()
        await asyncio.to_thread(
            lambda: (settle_given_up(None), settle_good(None), settle_bad(OSError("why")))
        )
        await asyncio.wait_for(good, PATIENCE_S)
        with pytest.raises(OSError, match="why"):
            await asyncio.wait_for(bad, PATIENCE_S)

    asyncio.run(main())


def test_a_wakeup_that_came_before_the_wait_is_not_lost_and_a_wait_ends_by_time():
    async def main() -> None:
        wakeup = Wakeup(LoopQueue(asyncio.get_running_loop()))
        wakeup.set_soon()
        await asyncio.sleep(0)
        await asyncio.wait_for(wakeup.wait(3_600), PATIENCE_S)
        wakeup.clear()
        await asyncio.wait_for(wakeup.wait(0.001), PATIENCE_S)
        wakeup.set_soon()
        await asyncio.wait_for(wakeup.wait(3_600), PATIENCE_S)

    asyncio.run(main())


def test_deadlines_end_all_futures_of_a_tick_by_one_timer_but_not_those_that_were_discarded():
    async def main() -> None:
        loop = TimerCountingLoop()
        deadlines, futures = Deadlines(loop), [asyncio.get_running_loop().create_future() for _ in range(3)]
        numbers = [deadlines.add(future, 0.5) for future in futures]
        futures[1].cancel()
        deadlines.discard(futures[2], numbers[2])
        [(at, end)] = loop.timers.items()
        assert loop.time() + 0.5 <= at <= loop.time() + 0.5 + TICK_S
        end()
        assert [future.done() for future in futures] == [True, True, False]
        deadlines.discard(futures[0], numbers[0])

    asyncio.run(main())


def test_a_timer_that_nobody_needs_any_more_is_cancelled_and_another_begins_for_who_comes_later():
    async def main() -> None:
        loop = TimerCountingLoop()
        deadlines, future = Deadlines(loop), asyncio.get_running_loop().create_future()
        deadlines.discard(future, deadlines.add(future, 3_600))
        assert not loop.timers
        deadlines.add(future, 3_600)
        assert len(loop.timers) == 1

    asyncio.run(main())
