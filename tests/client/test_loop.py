"""What threads bring to an event loop: all of it, in order, and with few wakings."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engine.client.loop import LoopQueue, Wakeup

PATIENCE_S = 30


class CountingLoop:
    """A loop that only counts how often it is woken, and runs nothing until it is told to."""

    def __init__(self) -> None:
        self.woken = []

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, callback) -> None:
        self.woken.append(callback)


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
        wakeup = Wakeup(asyncio.get_running_loop())
        wakeup.set()
        await asyncio.wait_for(wakeup.wait(3_600), PATIENCE_S)
        wakeup.clear()
        await asyncio.wait_for(wakeup.wait(0.001), PATIENCE_S)
        asyncio.get_running_loop().call_soon(wakeup.set)
        await asyncio.wait_for(wakeup.wait(3_600), PATIENCE_S)

    asyncio.run(main())
