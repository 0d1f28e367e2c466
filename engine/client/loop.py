"""What other threads have for an event loop, brought to it in batches; it never blocks either side.

Waking a loop is a system call that gives up the interpreter's lock: one for each of a hundred results at once
would have the thread that brings them wait a hundred times for its turn.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable

# How late a wait may end whose time is over: nobody waits so exactly for what is counted in seconds.
TICK_S = 1 / 64


class LoopQueue:
    """Callbacks for one event loop, in order. Any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: deque[Callable[[], object]] = deque()
        self._is_woken = False
        self.deadlines = Deadlines(loop)

    def future(self) -> "asyncio.Future[None]":
        """A future of this loop."""
        return self._loop.create_future()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Runs `callback` in the loop's thread; never, if the loop was closed."""
        self._callbacks.append(callback)
        if self._is_woken or self._loop.is_closed():
            return
        self._is_woken = True
        self._loop.call_soon_threadsafe(self._run)

    def later(self) -> "tuple[asyncio.Future[None], Callable[[BaseException | None], None]]":
        """A future, and what settles it from any thread: with an error, or None."""
        future = self.future()
        return future, lambda error: self.call_soon(lambda: _settle(future, error))

    def _run(self) -> None:
        # First, so that whoever adds from here on wakes the loop again.
        self._is_woken = False
        callbacks = self._callbacks
        while callbacks:
            callbacks.popleft()()


class Deadlines:
    """Ends futures of one loop when their time is over: one timer for all that end within the same tick.

    Nearly no wait lasts that long, and a timer for each would cost more than all else that a wait does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: dict[int, _Tick] = {}

    def add(self, future: "asyncio.Future[None]", seconds: float) -> int:
        """Settles `future` after `seconds`, or up to a tick later. The result is what `discard` needs."""
        number = math.ceil((self._loop.time() + seconds) / TICK_S)
        tick = self._ticks.get(number)
        if tick is None:
            timer = self._loop.call_at(number * TICK_S, self._end, number)
            tick = self._ticks[number] = _Tick(timer)
        tick.futures.add(future)
        return number

    def discard(self, future: "asyncio.Future[None]", number: int) -> None:
        """Forgets a future that was added, also after its time."""
        tick = self._ticks.get(number)
        if tick is None:
            return
        tick.futures.discard(future)
        if not tick.futures:
            tick.timer.cancel()
            del self._ticks[number]

    def _end(self, number: int) -> None:
        for future in self._ticks.pop(number).futures:
            _settle(future, None)


class _Tick:
    """The futures that end at one time."""

    __slots__ = ("futures", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.futures: set[asyncio.Future[None]] = set()


class Wakeup:
    """Wakes one task, which waits for it again and again."""

    __slots__ = ("_is_set", "_queue", "_waiter")

    def __init__(self, queue: LoopQueue) -> None:
        self._queue = queue
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def clear(self) -> None:
        """What was before is of no interest any more."""
        self._is_set = False

    def set_soon(self) -> None:
        """Wakes the task; or it does not even begin to wait. Any thread."""
        self._queue.call_soon(self._set)

    def _set(self) -> None:
        self._is_set = True
        if self._waiter is not None:
            _settle(self._waiter, None)

    async def wait(self, seconds: float) -> None:
        """Until it is set, or the time is over."""
        if self._is_set:
            return
        deadlines = self._queue.deadlines
        self._waiter = waiter = self._queue.future()
        deadline = deadlines.add(waiter, seconds)
        try:
            await waiter
        finally:
            deadlines.discard(waiter, deadline)
            self._waiter = None


def _settle(future: "asyncio.Future[None]", error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
