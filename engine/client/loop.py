"""What other threads have for an event loop, brought to it in batches.

Waking a loop is a system call that gives up the interpreter's lock: one for each of a hundred results at once
would have the thread that brings them wait a hundred times for its turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future


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

    async def outcome(self, future: "Future[None]") -> None:
        """Waits for a future that another thread completes. Giving up the wait does not cancel it."""
        if future.done():
            future.result()
            return
        here: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(lambda done: self.call_soon(lambda: _copy(done, here)))
        await here

    def _run(self) -> None:
        # First, so that whoever adds from here on wakes the loop again.
        self._is_woken = False
        callbacks = self._callbacks
        while callbacks:
            callbacks.popleft()()


def _copy(done: "Future[None]", here: "asyncio.Future[None]") -> None:
    if here.done():
        return
    error = done.exception()
    if error is None:
        here.set_result(None)
    else:
        here.set_exception(error)
