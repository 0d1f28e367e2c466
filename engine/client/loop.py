"""What other threads have for an event loop, brought to it in batches; it never blocks either side.

Waking a loop is a system call that gives up the interpreter's lock: one for each of a hundred results at once
would have the thread that brings them wait a hundred times for its turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class LoopQueue:
    """Callbacks for one event loop, in order. Any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Runs `callback` in the loop's thread; never, if the loop was closed."""
        self._callbacks.append(callback)
        if self._is_woken or self._loop.is_closed():
            return
        self._is_woken = True
        self._loop.call_soon_threadsafe(self._run)

    def later(self) -> "tuple[asyncio.Future[None], Callable[[BaseException | None], None]]":
        """A future, and what settles it from any thread: with an error, or None."""
        future: asyncio.Future[None] = self._loop.create_future()
        return future, lambda error: self.call_soon(lambda: _settle(future, error))

    def _run(self) -> None:
        # First, so that whoever adds from here on wakes the loop again.
        self._is_woken = False
        callbacks = self._callbacks
        while callbacks:
            callbacks.popleft()()


class Wakeup:
    """Wakes one task, which waits for it again and again. `set` is called by the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def clear(self) -> None:
        """What was before is of no interest any more."""
        self._is_set = False

    def set(self) -> None:
        """Wakes the task; or it does not even begin to wait."""
        self._is_set = True
        if self._waiter is not None:
            _settle(self._waiter, None)

    async def wait(self, seconds: float) -> None:
        """Until it is set, or the time is over."""
        if self._is_set:
            return
        # A timer and a future are all it takes; asyncio's own timeout costs a task's bookkeeping each time.
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, _settle, waiter, None)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None


def _settle(future: "asyncio.Future[None]", error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
