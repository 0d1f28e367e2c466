"""HTTP/1.1 as uvicorn speaks it, but that a request's head must come in time.

Uvicorn bounds how long a connection may be silent between requests, not how long the head of one may take.
"""

import asyncio

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0


class PromptProtocol(H11Protocol):
    """One connection."""

    _head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        self._mind_head()

    @override
    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        self._mind_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._forget_head()
        super().connection_lost(exc)

    def _mind_head(self) -> None:
        """The timer runs from a head's first byte, or the connection's first moment, to the head's last."""
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
