"""What became of a command: accepted, refused with its reason, or not known in time. Read, never guessed.

Theory of operation
* A command has a place in `commands`, which its delivery report names. Its owner's checkpoints say up to
  which place they have taken in that partition: from then on it is decided.
* What was refused left a dead letter that names the place, in the transaction of that very checkpoint. So a
  command that is decided and has none was accepted.
* Markers of one transaction reach their partitions one by one. Hence, when a checkpoint is seen, all dead
  letters that were written until then are waited for; then none of its commit can be missing.

All of it runs in the gateway's event loop but what the two followers call.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping

import msgspec

from engine.client.connection import Connection, Published
from engine.client.errors import UnreachableError
from engine.gateway.feed import Mark
from engine.gateway.follower import Follower
from engine.model.effects import Reason
from engine.partition.ports import Record
from engine.projection import Reach

LETTERS_MAX = 100_000
DEAD_LETTER_WAIT_S = 5.0


class Accepted(msgspec.Struct, frozen=True):
    """It took effect, or will on resume; history up to `position` of `partition` shows it."""

    partition: int
    position: int


class Refused(msgspec.Struct, frozen=True):
    """It changed nothing."""

    reason: str
    detail: str


class Undecided(msgspec.Struct, frozen=True):
    """It is on record and will be decided, but wasn't in time: perhaps no worker runs."""


Answer = Accepted | Refused | Undecided


class _Pending(msgspec.Struct, eq=False):
    partition: int
    place: Published
    answer: "asyncio.Future[Answer]"
    position: int = -1


class Answers:
    """The answers of one gateway."""

    def __init__(self, connection: Connection) -> None:
        """Raises UnreachableError."""
        self._connection = connection
        self._commands_id = connection.topic_ids().commands
        self._marks: dict[int, Mark] = {}
        self._pending: dict[int, list[_Pending]] = defaultdict(list)
        self._decided: list[_Pending] = []
        self._asked: dict[tuple[int, int], _Pending] = {}
        self._has_decided = asyncio.Event()
        # By the place of the command in `commands`.
        self._letters: OrderedDict[tuple[int, int], Refused] = OrderedDict()
        self._letters_reach = Reach()
        self._loop = asyncio.get_running_loop()
        self._settler: asyncio.Task[None] | None = None
        self._follower = Follower(
            "gateway-dead-letters",
            connection.open_dead_letter_tail,
            lambda: connection.dead_letter_ends(is_committed=True),
            self._take_letters,
            _nothing,
        )

    def start(self) -> None:
        """Begins at the present end of the dead letters. Raises UnreachableError."""
        self._letters_reach.advance(self._follower.start())
        self._settler = asyncio.create_task(self._settle())

    async def close(self) -> None:
        """Ends it. Who still waits is told that nothing is known."""
        if self._settler is not None:
            self._settler.cancel()
            await asyncio.gather(self._settler, return_exceptions=True)
        for pending in (*self._decided, *(each for many in self._pending.values() for each in many)):
            _set(pending, Undecided())
        await asyncio.to_thread(self._follower.close)

    async def answer(self, partition: int, place: Published, timeout_s: float) -> Answer:
        """What became of the command at `place`, whose instance is in `partition` of history."""
        pending = _Pending(partition, place, self._loop.create_future())
        self._pending[partition].append(pending)
        self._asked[place.partition, place.offset] = pending
        self._judge(partition)
        try:
            async with asyncio.timeout(timeout_s):
                return await pending.answer
        except TimeoutError:
            return Undecided()
        finally:
            self._forget(pending)

    def _forget(self, pending: _Pending) -> None:
        self._asked.pop((pending.place.partition, pending.place.offset), None)
        waiting = self._pending[pending.partition]
        if pending in waiting:
            waiting.remove(pending)

    # --- from the followers' threads ---

    def on_mark(self, partition: int, mark: Mark) -> None:
        """An owner has committed."""
        self._in_loop(lambda: self._take_mark(partition, mark))

    def _take_letters(self, records: list[Record], positions: Mapping[int, int]) -> Mapping[int, int]:
        found = [letter for letter in map(_letter_of, records) if letter is not None]
        if records or positions != self._letters_reach.positions:
            self._in_loop(lambda: self._add_letters(found, positions))
        return positions

    def _in_loop(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    # --- in the loop ---

    def _take_mark(self, partition: int, mark: Mark) -> None:
        self._marks[partition] = mark
        if self._pending[partition]:
            self._judge(partition)

    def _judge(self, partition: int) -> None:
        """Takes those aside whose commands are decided."""
        mark = self._marks.get(partition)
        if mark is None:
            return
        waiting: list[_Pending] = []
        for pending in self._pending[partition]:
            taken = mark.offsets.get((self._commands_id, pending.place.partition), -1)
            if taken < pending.place.offset:
                waiting.append(pending)
            else:
                pending.position = mark.position
                self._decided.append(pending)
        self._pending[partition] = waiting
        if self._decided:
            self._has_decided.set()

    def _add_letters(
        self, letters: list[tuple[tuple[int, int], Refused]], positions: Mapping[int, int]
    ) -> None:
        self._letters.update(letters)
        for place, refused in letters:
            # No need to wait for what else is written: this is the answer.
            if place in self._asked:
                _set(self._asked[place], refused)
        while len(self._letters) > LETTERS_MAX:
            self._letters.popitem(last=False)
        self._letters_reach.advance(positions)

    async def _settle(self) -> None:
        while True:
            await self._has_decided.wait()
            self._has_decided.clear()
            decided, self._decided = self._decided, []
            try:
                await self._await_letters()
            except (UnreachableError, TimeoutError):
                for pending in decided:
                    refused = self._letters.get((pending.place.partition, pending.place.offset))
                    _set(pending, refused or Undecided())
                continue
            for pending in decided:
                refused = self._letters.get((pending.place.partition, pending.place.offset))
                _set(pending, refused or Accepted(pending.partition, pending.position))

    async def _await_letters(self) -> None:
        """Returns when every dead letter that is written by now is read."""
        ends = await asyncio.to_thread(self._connection.dead_letter_ends, is_committed=False)
        async with asyncio.timeout(DEAD_LETTER_WAIT_S):
            await asyncio.wrap_future(self._letters_reach.reached(ends))


def _set(pending: _Pending, answer: Answer) -> None:
    if not pending.answer.done():
        pending.answer.set_result(answer)


def _letter_of(record: Record) -> tuple[tuple[int, int], Refused] | None:
    """A dead letter of a command by the command's place; None for one of another record."""
    headers = dict(record.headers)
    if headers.get("source.topic") != b"commands":
        return None
    place = (int(headers["source.partition"]), int(headers["source.offset"]))
    reason, detail = (headers.get(name, b"").decode("utf-8", "replace") for name in ("reason", "detail"))
    return place, Refused(reason, detail)


def is_missing(refused: Refused) -> bool:
    """Whether there is no such instance."""
    return refused.reason == Reason.INSTANCE_NOT_FOUND


def is_late(refused: Refused) -> bool:
    """Whether the instance is over: for Dapr that is no error."""
    return refused.reason == Reason.INSTANCE_FINISHED


def _nothing() -> None:
    """A new tail of dead letters needs no preparation: each record stands for itself."""
