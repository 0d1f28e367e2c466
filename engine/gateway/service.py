"""Commands with their answers, and questions: each use case once, whatever door it is asked through.

Rules
* An answer is what a command's owner has committed. What one caller was told, the next question here shows.
* While the read model is being built, an instance's history is read from the log itself.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from engine.client.connection import Connection
from engine.client.errors import UnreachableError
from engine.client.reading import read_commits
from engine.client.requests import Request
from engine.client.state import WorkflowHistoryEvent, history_event_of
from engine.codec.topics import partition_of
from engine.gateway.answers import Answer, Answers, Question, Undecided
from engine.gateway.feed import Feed
from engine.gateway.idempotency import ATTEMPT, Attempt, NothingToResumeError
from engine.gateway.measures import Measures, Outcome
from engine.projection import AnyReader, Instance, ReadModel, Run

T = TypeVar("T")

READERS = 4
LATE_READERS = 2
FRESH_WAIT_S = 2.0
COMMAND_WAIT_S = 5.0
CONNECTED_LOOK_S = 0.05


class Service:
    """One per gateway. All in one event loop."""

    def __init__(
        self,
        connection: Connection,
        projection: ReadModel,
        measures: Measures,
        *,
        wait_s: float = COMMAND_WAIT_S,
    ) -> None:
        """`wait_s` bounds how long a command's answer is waited for. Raises UnreachableError."""
        self.projection = projection
        self.measures = measures
        self._connection = connection
        self._wait_s = wait_s
        self.answers = Answers(connection)
        self.feed = Feed(connection)
        self._executor = ThreadPoolExecutor(READERS, "gateway-read")
        # Of their own: to read a partition takes long, and nobody who asks the read model may wait behind it.
        self._late_executor = ThreadPoolExecutor(LATE_READERS, "gateway-read-late")
        self._readers = threading.local()
        self._limits: set[asyncio.Timeout] = set()
        self._is_ending = False
        # By partition, what somebody was told: the next who asks must see it, while there is that history.
        self._told: dict[int, int] = {}
        self._losses = 0

    async def start(self) -> None:
        """Begins to follow the log. Raises UnreachableError."""
        await asyncio.to_thread(self.feed.start)
        self.answers.start()
        # Somebody may have been told by the gateway before this one.
        self._told = dict(self.feed.reach.positions)

    def end_waits(self) -> None:
        """Those who wait for an instance are answered now, for the gateway ends: they ask another."""
        self._is_ending = True
        for limit in self._limits:
            limit.reschedule(0)

    @asynccontextmanager
    async def waiting(self, timeout_s: float) -> AsyncIterator[None]:
        """A wait of at most so long, and no longer than the gateway is open. Raises TimeoutError."""
        async with asyncio.timeout(0 if self._is_ending else timeout_s) as limit:
            self._limits.add(limit)
            self.measures.waits += 1
            try:
                yield
            finally:
                self.measures.waits -= 1
                self._limits.discard(limit)

    async def close(self) -> None:
        """Lets go of everything."""
        await self.answers.close()
        await asyncio.to_thread(self.feed.close)
        for executor in (self._executor, self._late_executor):
            executor.shutdown(wait=False, cancel_futures=True)

    def partition(self, instance_id: str) -> int:
        """The partition of history that an instance is in."""
        return partition_of(instance_id, self._connection.partitions)

    @property
    def is_ready(self) -> bool:
        """Whether commands can be answered and questions are answered from the read model."""
        return self.is_connected and self.projection.progress.is_done and not self.projection.has_failed

    @property
    def is_connected(self) -> bool:
        """Whether the log can be read."""
        return self.feed.is_following and self.answers.is_following

    @property
    def lag(self) -> int | None:
        """By how many offsets of history the read model is behind; None while history can't be read."""
        if not self.feed.is_following:
            return None
        shown = self.projection.positions
        return sum(max(0, at - shown.get(number, 0)) for number, at in self.feed.reach.positions.items())

    # --- commands ---

    async def send(self, request: Request) -> Answer:
        """What became of a command. Raises UnreachableError where it is not known whether it was sent."""
        began_ns = time.perf_counter_ns()
        try:
            answer = await self._ask_owner(request)
        except UnreachableError:
            self.measures.commands[Outcome.FAILED] += 1
            raise
        self.measures.commands[Outcome.of(answer)] += 1
        if not isinstance(answer, Undecided):
            self.measures.command_ns.observe(time.perf_counter_ns() - began_ns)
            partition, position = answer.partition, answer.position
            self._tell(partition, position)
            # The markers of one transaction reach its partitions one by one: an answer may be here before
            # the history that it speaks of.
            await _is_reached(self.feed.reach.reached({partition: position}))
        return answer

    async def _ask_owner(self, request: Request) -> Answer:
        attempt = ATTEMPT.get()
        with self.answers.asking(None if attempt is None else attempt.name_of(request)) as question:
            if question.is_new:
                await self._publish(request, question, attempt)
            return await question.answer(self._wait_s)

    async def _publish(self, request: Request, question: Question, attempt: Attempt | None) -> None:
        if attempt is not None and attempt.is_repeat:
            raise NothingToResumeError
        if not await self._is_connected_soon():
            if attempt is not None:
                attempt.is_unsent = True
            message = f"the log has not answered for {self._wait_s:g} s; nothing was sent, try again"
            raise UnreachableError(message)
        published = self._connection.publish_lone(request.key, request.value, question.headers)
        # Shielded: a caller that goes away takes no command back, and the future is not ours to cancel.
        await asyncio.shield(asyncio.wrap_future(published))

    async def _is_connected_soon(self) -> bool:
        """A reader that begins anew is back in a moment; of a log that is down this waits the time out."""
        for _ in range(int(self._wait_s / CONNECTED_LOOK_S)):
            if self.is_connected:
                return True
            await asyncio.sleep(CONNECTED_LOOK_S)
        return self.is_connected

    def was_told(self, instance_id: str, position: int) -> None:
        """Somebody knows what history holds of it before `position`: his next question shows that too."""
        self._tell(self.partition(instance_id), position)

    def _tell(self, partition: int, position: int) -> None:
        told = self._known()
        told[partition] = max(told.get(partition, 0), position)

    def _known(self) -> dict[int, int]:
        if self._losses != self.feed.losses:
            self._losses = self.feed.losses
            self._told = dict(self.feed.reach.positions)
        return self._told

    # --- questions ---

    async def read(self, ask: Callable[[AnyReader], T]) -> T:
        """What the read model says, of all partitions, fresh as far as that takes no more than a moment."""
        await self._is_fresh(self._known())
        return await self._in_thread(lambda: self._ask(ask))

    async def ask_log(self, ask: Callable[[Connection], T]) -> T:
        """What the log itself says. It may take long, and holds up no other question."""
        return await asyncio.to_thread(ask, self._connection)

    async def _read_one(
        self, instance_id: str, ask: Callable[[AnyReader], T], late: Callable[[], T], position: int = 0
    ) -> T:
        """The same of one instance, up to `position` at least.

        `late` is called, in a thread, where the read model is too far behind.
        """
        partition = self.partition(instance_id)
        told = self._known().get(partition, 0)
        if await self._is_fresh({partition: max(told, position)}):
            return await self._in_thread(lambda: self._ask(ask))

        def ask_history() -> T:
            self._check_visible(partition, told)
            return late()

        # Cancelled before it has begun, it is not done at all.
        return await asyncio.get_running_loop().run_in_executor(self._late_executor, ask_history)

    def _check_visible(self, partition: int, told: int) -> None:
        """What was told is committed, but the marker that shows it may be late. Raises UnreachableError.

        Rather no answer than one that takes back what somebody was told.
        """
        end = self._connection.ends()[partition]
        if end < told:
            message = (
                f"history partition {partition} can be read up to offset {end:,}, but what was answered goes "
                f"up to {told:,}: Kafka has not shown that commit yet; try again"
            )
            raise UnreachableError(message)

    async def find(self, instance_id: str) -> Instance | None:
        """The instance as it is committed now, None where there is none."""
        return await self._read_one(
            instance_id,
            lambda reader: reader.find(instance_id),
            lambda: self._fold(instance_id).shown(),
        )

    async def history(self, instance_id: str, after: int, limit: int) -> list[WorkflowHistoryEvent]:
        """Events of the newest run behind number `after`; [] where there is no such instance."""

        def late() -> list[WorkflowHistoryEvent]:
            behind = [each for each in self._fold(instance_id).events if each.sequence > after]
            return [history_event_of(each) for each in behind[:limit]]

        return await self._read_one(
            instance_id, lambda reader: reader.history(instance_id, after=after, limit=limit), late
        )

    async def _is_fresh(self, wanted: Mapping[int, int]) -> bool:
        return await _is_reached(self.projection.reached(wanted))

    async def run(self, instance_id: str) -> Run:
        """The newest run, with its events, up to what the feed has passed by now at least."""
        partition = self.partition(instance_id)
        known = self.feed.reach.positions.get(partition, 0)

        def ask(reader: AnyReader) -> Run:
            position, values = reader.values(instance_id, partition)
            run = Run(instance_id, partition, keeps_events=True)
            run.begin(values, position)
            return run

        return await self._read_one(instance_id, ask, lambda: self._fold(instance_id), known)

    def _fold(self, instance_id: str) -> Run:
        """Reads the whole partition: for the time in which the read model is being built."""
        partition = self.partition(instance_id)
        run = Run(instance_id, partition, keeps_events=True)
        key = f"{instance_id}|".encode()
        for record in read_commits(self._connection, partition):
            if record.key.startswith(key):
                run.add(record)
        return run

    def _in_thread(self, call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _ask(self, ask: Callable[[AnyReader], T]) -> T:
        generation = self.projection.generation
        try:
            return ask(self._reader())
        except sqlite3.OperationalError as problem:
            message = f"the read model can't be read now: {problem}; try again"
            raise UnreachableError(message) from problem
        except sqlite3.DatabaseError as problem:
            self.projection.doubt(generation)
            message = f"the read model is damaged, and is built anew: {problem}; try again"
            raise UnreachableError(message) from problem

    def _reader(self) -> AnyReader:
        """This thread's own, of today's file."""
        generation = self.projection.generation
        reader: AnyReader | None = getattr(self._readers, "reader", None)
        if reader is None or self._readers.generation != generation:
            if reader is not None:
                reader.close()
            reader = self._readers.reader = self.projection.open_reader()
            self._readers.generation = generation
        return reader


async def _is_reached(reached: "Future[None]") -> bool:
    """Whether it comes to that within a moment."""
    if reached.done():
        return True
    try:
        async with asyncio.timeout(FRESH_WAIT_S):
            await asyncio.wrap_future(reached)
    except TimeoutError:
        return False
    return True
