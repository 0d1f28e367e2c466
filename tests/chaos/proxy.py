"""A TCP proxy before one broker. It knows where Kafka's requests begin, so it can hold back one kind of them.

It holds back EndTxn, with which a client commits or aborts, and never changes a byte.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from enum import Enum

HOST = "127.0.0.1"
END_TXN = 26
# Before every request and reply: its size. A request goes on with its API key (2 bytes), the version of that
# (2) and a correlation id (4); a reply with the correlation id.
SIZE_BYTES = 4
KEY = slice(0, 2)
REQUEST_ID = slice(4, 8)
REPLY_ID = slice(0, 4)


class Hold(Enum):
    """What becomes of a held request."""

    DELAYED = "goes on later"
    UNANSWERED = "goes on, but its reply is dropped with the connection"
    LATE = "goes on later, long after its client has lost the connection"


class Proxy:
    """One broker's. All connections are served by one event loop in a thread of its own."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.held = 0
        self._target_port = target_port
        self._orders: deque[tuple[Hold, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._is_serving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{port}", daemon=True)
        self._thread.start()
        assert self._is_serving.wait(10), f"expected a proxy on port {port}"

    def hold(self, hold: Hold, seconds: float) -> None:
        """Orders what becomes of the next EndTxn. Any thread."""
        self._orders.append((hold, seconds))

    def forgive(self) -> None:
        """Takes back the orders that no request has met."""
        self._orders.clear()

    def close(self) -> None:
        """Ends all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, self.port))
        self._is_serving.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, asks = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.close()
            return
        connection = _Connection(self, asks, writer)
        # The loop itself holds tasks weakly, and a closed connection no longer holds its own.
        for task in (asyncio.current_task(), asyncio.ensure_future(connection.carry_replies(answers))):
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await connection.carry_requests(reader)
        finally:
            connection.close()

    def take_order(self, request: bytes) -> tuple[Hold, float] | None:
        """What is to become of this request; None if it goes its way."""
        if int.from_bytes(request[KEY]) != END_TXN or not self._orders:
            return None
        self.held += 1
        return self._orders.popleft()


class _Connection:
    """A client's connection, and the one to the broker that stands for it."""

    def __init__(self, proxy: Proxy, broker: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._broker = broker
        self._client = client
        self._unanswered: set[bytes] = set()

    async def carry_requests(self, reader: asyncio.StreamReader) -> None:
        """Until either side closes."""
        while (request := await _read(reader)) is not None:
            order = self._proxy.take_order(request)
            if order is not None:
                await self._hold(request, *order)
            is_written = await _write(self._broker, request)
            if not is_written or (order is not None and order[0] is Hold.LATE):
                return

    async def carry_replies(self, reader: asyncio.StreamReader) -> None:
        """Until either side closes."""
        while (reply := await _read(reader)) is not None:
            if reply[REPLY_ID] in self._unanswered or not await _write(self._client, reply):
                break
        self._client.close()

    def close(self) -> None:
        """Lets go of both sides."""
        self._client.close()
        self._broker.close()

    async def _hold(self, request: bytes, hold: Hold, seconds: float) -> None:
        if hold is Hold.UNANSWERED:
            self._unanswered.add(request[REQUEST_ID])
            return
        if hold is Hold.LATE:
            self._client.close()
        await asyncio.sleep(seconds)


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        size = await reader.readexactly(SIZE_BYTES)
        return await reader.readexactly(int.from_bytes(size))
    except (OSError, asyncio.IncompleteReadError):
        return None


async def _write(writer: asyncio.StreamWriter, frame: bytes) -> bool:
    try:
        writer.write(len(frame).to_bytes(SIZE_BYTES) + frame)
        await writer.drain()
    except OSError:
        return False
    return True
