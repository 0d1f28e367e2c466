"""What became of a command: accepted, refused with its reason, or not known in time. Told, never guessed.

Theory of operation
* A command goes with the header `reply-to`, which names this gateway and the question. Its owner answers by a
  record of `replies`, in the very transaction that holds what the command did.
* A follower reads the one partition that has the answers for this gateway; those for others are passed over
  by their keys.
* No answer in time says nothing: perhaps no worker runs, or only one of a release that gives none.

All of it runs in the gateway's event loop but what the follower calls.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from engine.client.connection import Connection
from engine.codec.avro import UndecodableError, decode_reply
from engine.codec.topics import REPLY_TO_HEADER, ReplyTo, format_reply_to
from engine.gateway.follower import Follower
from engine.model.effects import Reason
from engine.model.reply import Reply
from engine.partition.ports import Headers, Record

log = logging.getLogger(__name__)

LATE_MAX = 10_000


class Accepted(msgspec.Struct, frozen=True):
    """It took effect, or will on resume; history up to `position` of `partition` shows it."""

    partition: int
    position: int


class Refused(msgspec.Struct, frozen=True):
    """It changed nothing; history up to `position` of `partition` shows why."""

    reason: str
    detail: str
    partition: int = 0
    position: int = 0


class Undecided(msgspec.Struct, frozen=True):
    """It is on record and will be decided, but wasn't in time: perhaps no worker runs."""


Answer = Accepted | Refused | Undecided


class Question:
    """One command's, from before it is published until somebody has waited for its answer."""

    def __init__(self, reply_to: ReplyTo, answer: "asyncio.Future[Answer]", *, is_new: bool) -> None:
        self._answer = answer
        # Not where its command was sent before, and had no answer in time.
        self.is_new = is_new
        self.is_undecided = False
        # What the command is published with.
        self.headers: Headers = ((REPLY_TO_HEADER, format_reply_to(reply_to)),)

    async def answer(self, timeout_s: float) -> Answer:
        """What became of the command."""
        # A wait that is over cancels nothing: somebody may ask again.
        await asyncio.wait((self._answer,), timeout=timeout_s)
        self.is_undecided = not self._answer.done()
        return Undecided() if self.is_undecided else self._answer.result()


class Answers:
    """The answers of one gateway."""

    def __init__(self, connection: Connection) -> None:
        # Of this process alone: what an earlier one asked is nothing that this one waits for.
        self.requester = uuid.uuid4().hex
        self._asked: dict[bytes, asyncio.Future[Answer]] = {}
        # Questions without an answer in time, by the names that who asks again knows; the oldest first.
        self._late: dict[bytes, str] = {}
        self._loop = asyncio.get_running_loop()
        self._follower = Follower(
            "gateway-replies",
            connection.open_reply_tail,
            lambda: connection.reply_ends(self.requester),
            self._take,
            _nothing,
        )

    def start(self) -> None:
        """Begins at the present end of the replies. Raises UnreachableError, ConfigurationError."""
        self._follower.start()

    async def close(self) -> None:
        """Ends it. Who still waits is told that nothing is known."""
        for answer in self._asked.values():
            _set(answer, Undecided())
        await asyncio.to_thread(self._follower.close)

    @property
    def is_following(self) -> bool:
        """Whether replies can be read."""
        return self._follower.is_following

    @contextmanager
    def asking(self, name: bytes | None = None) -> Iterator[Question]:
        """A question, its answer kept from now on: it may come before its command is known to be sent.

        Forgotten at the end; but one with a name that had no answer in time is kept for who asks again.
        """
        before = None if name is None else self._late.pop(name, None)
        request_id = before or uuid.uuid4().hex
        if before is None:
            self._asked[request_id.encode()] = self._loop.create_future()
        answer = self._asked[request_id.encode()]
        question = Question(ReplyTo(self.requester, request_id), answer, is_new=before is None)
        try:
            yield question
        finally:
            if name is not None and question.is_undecided:
                self._late[name] = request_id
                self._forget_late()
            else:
                del self._asked[request_id.encode()]

    def _forget_late(self) -> None:
        while len(self._late) > LATE_MAX:
            del self._asked[self._late.pop(next(iter(self._late))).encode()]

    # --- the follower's thread ---

    def _take(self, records: list[Record], positions: Mapping[int, int]) -> Mapping[int, int]:
        found = [(record.key, record.value or b"") for record in records if record.key in self._asked]
        if found and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer, found)
        return positions

    # --- in the loop ---

    def _answer(self, found: list[tuple[bytes, bytes]]) -> None:
        for request_id, value in found:
            answer = self._asked.get(request_id)
            if answer is None:
                # Nobody waits any more.
                continue
            try:
                _set(answer, _answer_of(decode_reply(value)))
            except UndecodableError as error:
                log.warning("a reply can't be read, and tells nothing: %s", error.detail)


def _answer_of(reply: Reply) -> Answer:
    if reply.is_accepted:
        return Accepted(reply.partition, reply.position)
    return Refused(reply.reason, reply.detail, reply.partition, reply.position)


def _set(answer: "asyncio.Future[Answer]", told: Answer) -> None:
    # A commit that was torn may be told twice; both say the same, for the owner derives it again.
    if not answer.done():
        answer.set_result(told)


def is_missing(refused: Refused) -> bool:
    """Whether there is no such instance."""
    return refused.reason == Reason.INSTANCE_NOT_FOUND


def is_late(refused: Refused) -> bool:
    """Whether the instance is over: for Dapr that is no error."""
    return refused.reason == Reason.INSTANCE_FINISHED


def _nothing(positions: Mapping[int, int] | None) -> None:
    """A new tail of replies needs no preparation: each record stands for itself."""
