"""What a gateway counts, for whoever exports it. Nothing here may decide anything.

Written by its event loop, read by any thread.
"""

import time
from collections import Counter, defaultdict
from enum import StrEnum

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.gateway.answers import Accepted, Answer, Refused
from engine.gateway.http import Route
from engine.partition.measures import LATENCY_MS, MS, Histogram

SECONDS_NS = tuple(
    ms * MS for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 30_000, 300_000)
)
# Paths and methods are a caller's choice, and make no series: what is no route has this name.
OTHER = "other"
# The key of an ASGI scope under which the app says which route it found.
ROUTE = "engine.route"
# Nobody was answered: the caller had gone, or the gateway ended.
UNANSWERED = "none"
BAD_REQUEST = 400


class Outcome(StrEnum):
    """What became of a command, as far as its sender was told."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNDECIDED = "undecided"
    # The log did not take it, or did not say so.
    FAILED = "failed"

    @classmethod
    def of(cls, answer: Answer) -> "Outcome":
        """Of an answer."""
        if isinstance(answer, Accepted):
            return cls.ACCEPTED
        return cls.REFUSED if isinstance(answer, Refused) else cls.UNDECIDED


class Measures:
    """One per gateway."""

    def __init__(self) -> None:
        # By method, path of the route, and status.
        self.requests: Counter[tuple[str, str, str]] = Counter()
        # By method and path of the route.
        self.request_ns: dict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(SECONDS_NS))
        # By Dapr's name of the operation, and how it ended.
        self.operation_ms: dict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(LATENCY_MS))
        self.commands: Counter[Outcome] = Counter()
        self.command_ns = Histogram(SECONDS_NS)
        self.under_way = 0
        self.waits = 0
        self.streams = 0

    def answered(self, route: Route | None, status: str, took_ns: int) -> None:
        """One more request is over."""
        place = (OTHER, OTHER) if route is None else (route.method, route.path)
        self.requests[*place, status] += 1
        self.request_ns[place].observe(took_ns)
        if route is not None and route.dapr_operation and status != UNANSWERED:
            result = "success" if int(status) < BAD_REQUEST else "failed"
            self.operation_ms[route.dapr_operation, result].observe(took_ns // MS)


class Measured:
    """ASGI middleware: counts requests. Outside of all else, so that it sees every refusal and every bug."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began_ns = UNANSWERED, time.perf_counter_ns()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        self._measures.under_way += 1
        try:
            await self._app(scope, receive, send_noted)
        finally:
            self._measures.under_way -= 1
            self._measures.answered(scope.get(ROUTE), status, time.perf_counter_ns() - began_ns)
