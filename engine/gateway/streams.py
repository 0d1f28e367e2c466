"""Server-sent events: what happened, as text that browsers read by themselves. Bounded in number."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec

from engine.client.errors import UnreachableError
from engine.client.state import history_event_of
from engine.gateway.http import Problem, Reply, encode
from engine.gateway.measures import Measures
from engine.gateway.shapes import event_shape_of
from engine.gateway.waits import Happened

EVENT_STREAM = "text/event-stream"
STREAMS_MAX = 500
# Proxies cut what is silent for longer, and only a write shows that a reader has gone.
KEEP_ALIVE_S = 15.0


class Streams:
    """All streams of a gateway. They end with it."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Ends every stream: a reader comes again, with the number of the last event it has."""
        self._ending.set()

    def reply(self, happening: AsyncIterator[Happened], *, is_resumable: bool) -> Reply:
        """An answer that lasts. Raises Problem when there are too many."""
        if self._measures.streams >= STREAMS_MAX:
            message = f"expected at most {STREAMS_MAX} streams at a time; end some first"
            raise Problem(503, "ERR_UNAVAILABLE", message)
        headers = {"content-type": EVENT_STREAM, "cache-control": "no-store", "x-accel-buffering": "no"}
        return Reply(status=200, headers=headers, stream=self._texts(happening, is_named=is_resumable))

    async def _texts(self, happening: AsyncIterator[Happened], *, is_named: bool) -> AsyncIterator[bytes]:
        self._measures.streams += 1
        ending = asyncio.ensure_future(self._ending.wait())
        coming: asyncio.Future[Happened] = asyncio.ensure_future(anext(happening))
        try:
            # Sent at once, so that whoever listens knows that it listens.
            yield b": listening\n\n"
            while True:
                both: set[asyncio.Future[Any]] = {coming, ending}
                await asyncio.wait(both, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    return
                if not coming.done():
                    yield b": still here\n\n"
                    continue
                yield text_of(coming.result(), is_named=is_named)
                coming = asyncio.ensure_future(anext(happening))
        except (StopAsyncIteration, UnreachableError):
            # The reader fell behind, or the log can't be read: it comes again and goes on where it was.
            return
        finally:
            self._measures.streams -= 1
            for each in (ending, coming):
                each.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, UnreachableError):
                await coming


def text_of(happened: Happened, *, is_named: bool) -> bytes:
    """One event of a stream; named where a reader that comes again may go on behind it."""
    event = event_shape_of(history_event_of(happened.recorded))
    data = encode({"instance_id": happened.instance_id, **msgspec.structs.asdict(event)})
    name = f"id: {event.run_id}/{event.event_id}\n" if is_named else ""
    return f"{name}event: {event.event_type}\ndata: ".encode() + data + b"\n\n"


def parse_event_id(text: str | None) -> tuple[str, int] | None:
    """The (run id, number) that an event of a stream was named by. Raises Problem."""
    if not text:
        return None
    run_id, _, number = text.rpartition("/")
    if not run_id or not number.isascii() or not number.isdigit() or len(number) > 10:
        message = f"expected Last-Event-ID to be a run id, '/' and a number, but got {text!r:.100}"
        raise Problem(400, "ERR_INVALID_REQUEST", message)
    return run_id, int(number)
