"""The one thread that writes an embedded log: all that is asked for at the moment becomes one transaction.

Under load this becomes group commit by itself; alone, a job is written at once. What SQLite refuses is told
as not known (appends with a callback, commits), as a fault (claims, published commands) or tried again
without limit (appends without a callback, trims, progress).
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import nullcontext

from engine.embedded import database as db
from engine.embedded.jobs import (
    AppendJob,
    Bounds,
    ClaimJob,
    CommitJob,
    Group,
    Job,
    Outcomes,
    ProgressJob,
    PublishJob,
    StopJob,
    TrimJob,
)
from engine.embedded.signal import Signal
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
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._commands = 0
        self.death: BaseException | None = None
        self.commands_changed = Signal()
        self.changed = Signal()
        self._thread = threading.Thread(target=self._run, name="embedded-log-writer", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Asks for something; the order of one caller's requests is kept."""
        self.raise_if_dead()
        self._queue.put(job)

    def raise_if_dead(self) -> None:
        """The writer dies only of our bugs; whoever needs it must then say so."""
        if self.death is not None:
            message = "the embedded log's writer died"
            raise AssertionError(message) from self.death

    def stop(self) -> None:
        """Writes what was asked for so far and ends. Not to be called twice."""
        self._queue.put(StopJob())
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as death:  # noqa: BLE001 -- the thread's edge: it is raised again by `put`
            self.death = death
            self._on_group(Outcomes())
        for job in self._drain([]):
            _refuse(job, RuntimeError("the embedded log is closed"))

    def _work(self) -> None:
        again: list[Job] = []
        is_stopping = False
        while not is_stopping:
            jobs = again or [self._queue.get()]
            self._drain(jobs)
            is_stopping = any(isinstance(job, StopJob) for job in jobs)
            again = self._write(jobs)
            if again and not is_stopping:
                threading.Event().wait(RETRY_PAUSE_S)

    def _drain(self, jobs: list[Job]) -> list[Job]:
        try:
            while len(jobs) < GROUP_JOBS_MAX:
                jobs.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return jobs

    def _write(self, jobs: list[Job]) -> list[Job]:
        """Returns the jobs to be tried again."""
        publishes = any(isinstance(job, PublishJob) for job in jobs)
        try:
            outcomes = self._write_group(jobs, publishes=publishes)
        except sqlite3.Error as error:
            # What a failed COMMIT left behind only the file can tell.
            self._bounds = None
            self._on_group(_outcomes_of_failure(jobs, error))
            return [job for job in jobs if _refuse(job, db.fault_of(error))]
        except BaseException as death:
            for job in jobs:
                _refuse(job, AssertionError(f"the embedded log's writer died: {death!r}"))
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

    def _write_group(self, jobs: list[Job], *, publishes: bool) -> Outcomes:
        if self._bounds is None:
            self._bounds = Bounds(self._database, self._partitions)
        if publishes:
            with self._database.transaction():
                # Other processes publish too: only inside the transaction the end stays where it is.
                self._bounds.ends[db.COMMANDS, 0] = self._database.end_offset(db.COMMANDS, 0)
                return self._group_of(jobs, self._bounds, write_now=True).outcomes
        group = self._group_of(jobs, self._bounds, write_now=False)
        with nullcontext() if group.is_one_statement() else self._database.transaction():
            group.write(self._database)
        return group.outcomes

    def _group_of(self, jobs: list[Job], bounds: Bounds, *, write_now: bool) -> Group:
        group = Group(bounds, self._now_ms())
        for job in jobs:
            group.add(job)
        if write_now:
            group.write(self._database)
        return group


def _outcomes_of_failure(jobs: list[Job], error: sqlite3.Error) -> Outcomes:
    outcomes = Outcomes()
    for job in jobs:
        if isinstance(job, CommitJob):
            outcomes.results.append((job.claim, Doubt(f"SQLite: {error}")))
        elif isinstance(job, AppendJob) and job.on_done is not None:
            outcomes.appended.append((job.outlet, job.on_done, Appended(-1, 0)))
    return outcomes


def _refuse(job: Job, error: Exception) -> bool:
    """Tells the one who waits for a job. True for one that nobody waits for: it may be tried again."""
    match job:
        case ClaimJob() | PublishJob():
            job.result.set_exception(error)
            return False
        case AppendJob():
            return job.on_done is None
        case TrimJob() | ProgressJob():
            return True
        case CommitJob() | StopJob():
            return False
