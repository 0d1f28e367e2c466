"""The one thread that writes an embedded log: all that is asked for at the moment becomes one transaction.

Under load this becomes group commit by itself; alone, a request is written at once. What SQLite refuses is
told as not known (appends with a callback, commits), as a fault (claims, published commands) or tried again
without limit (appends without a callback, trims, progress).
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import nullcontext

from engine.embedded import database as db
from engine.embedded.requests import (
    AppendRequest,
    Bounds,
    ClaimRequest,
    CommitRequest,
    Group,
    Outcomes,
    ProgressRequest,
    PublishRequest,
    Request,
    StopRequest,
    TrimRequest,
)
from engine.embedded.signal import Signal
from engine.errors import ConfigurationError
from engine.partition.ports import Appended, Doubt

GROUP_JOBS_MAX = 2_000
RETRY_PAUSE_S = 0.05


class Writer:
    """Owns the writing connection. `on_group` is called with the outcomes of each transaction, after it."""

    def __init__(
        self,
        database: db.Database,
        partitions: int,
        now_ms: Callable[[], int],
        on_group: Callable[[Outcomes], None],
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._now_ms = now_ms
        self._on_group = on_group
        self._bounds: Bounds | None = Bounds(database, partitions)
        # A SimpleQueue is implemented in C: putting never waits for the GIL.
        self._queue: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._commands = 0
        self.death: BaseException | None = None
        self.commands_changed = Signal()
        self.changed = Signal()
        self._thread = threading.Thread(target=self._run, name="embedded-log-writer", daemon=True)
        self._thread.start()

    def put(self, request: Request) -> None:
        """Asks for something; the order of one caller's requests is kept."""
        self.raise_if_dead()
        self._queue.put(request)

    def raise_if_dead(self) -> None:
        """The writer dies only of our bugs, or of a file that has gone; whoever needs it must then say so."""
        if isinstance(self.death, ConfigurationError):
            raise self.death
        if self.death is not None:
            message = "the embedded log's writer died"
            raise AssertionError(message) from self.death

    def stop(self) -> None:
        """Writes what was asked for so far and ends. Not to be called twice."""
        self._queue.put(StopRequest())
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as death:  # noqa: BLE001 -- the thread's edge: it is raised again by `put`
            self.death = death
            self._on_group(Outcomes())
        for request in self._drain([]):
            _refuse(request, RuntimeError("the embedded log is closed"))

    def _work(self) -> None:
        again: list[Request] = []
        is_stopping = False
        while not is_stopping:
            requests = again or [self._queue.get()]
            self._drain(requests)
            is_stopping = any(isinstance(request, StopRequest) for request in requests)
            again = self._write(requests)
            if again and not is_stopping:
                threading.Event().wait(RETRY_PAUSE_S)

    def _drain(self, requests: list[Request]) -> list[Request]:
        try:
            while len(requests) < GROUP_JOBS_MAX:
                requests.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return requests

    def _write(self, requests: list[Request]) -> list[Request]:
        """Returns the requests to be tried again."""
        publishes = any(isinstance(request, PublishRequest) for request in requests)
        try:
            outcomes = self._write_group(requests, publishes=publishes)
        except sqlite3.Error as error:
            # What a failed COMMIT left behind only the file can tell.
            self._bounds = None
            self._on_group(_outcomes_of_failure(requests, error))
            return [request for request in requests if _refuse(request, db.fault_of(error))]
        except BaseException as death:
            bug = AssertionError(f"the embedded log's writer died: {death!r}")
            for request in requests:
                _refuse(request, death if isinstance(death, ConfigurationError) else bug)
            raise
        self._on_group(outcomes)
        for claimed, claim in outcomes.claims:
            claimed.set_result(claim)
        for published, appended in outcomes.published:
            published.set_result(appended)
        if publishes:
            self.commands_changed.notify()
        self.changed.notify()
        return []

    def _write_group(self, requests: list[Request], *, publishes: bool) -> Outcomes:
        self._database.check_in_place()
        if self._bounds is None:
            self._bounds = Bounds(self._database, self._partitions)
        if publishes:
            with self._database.transaction():
                # Other processes publish too: only inside the transaction the end stays where it is.
                self._bounds.ends[db.COMMANDS, 0] = self._database.end_offset(db.COMMANDS, 0)
                return self._group_of(requests, self._bounds, write_now=True).outcomes
        group = self._group_of(requests, self._bounds, write_now=False)
        with nullcontext() if group.is_one_statement() else self._database.transaction():
            group.write(self._database)
        return group.outcomes

    def _group_of(self, requests: list[Request], bounds: Bounds, *, write_now: bool) -> Group:
        group = Group(bounds, self._now_ms())
        for request in requests:
            group.add(request)
        if write_now:
            group.write(self._database)
        return group


def _outcomes_of_failure(requests: list[Request], error: sqlite3.Error) -> Outcomes:
    outcomes = Outcomes()
    for request in requests:
        if isinstance(request, CommitRequest):
            outcomes.results.append((request.claim, Doubt(f"SQLite: {error}")))
        elif isinstance(request, AppendRequest) and request.on_done is not None:
            outcomes.appended.append((request.outlet, request.on_done, Appended(-1, 0)))
    return outcomes


def _refuse(request: Request, error: Exception) -> bool:
    """Tells the one who waits for a request. True for one that nobody waits for: it may be tried again."""
    match request:
        case ClaimRequest() | PublishRequest():
            request.result.set_exception(error)
            return False
        case AppendRequest():
            return request.on_done is None
        case TrimRequest() | ProgressRequest():
            return True
        case CommitRequest() | StopRequest():
            return False
