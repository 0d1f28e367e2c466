"""Requests with an Idempotency-Key: the second is the first, and gets its answer. Nothing is sent twice.

Rules
* A key is on disk before its command is sent, and its answer as soon as it is known.
* An answer that was undecided is no last word: a repeat waits once more for what was sent, and sends nothing.
* A gateway that died in between does not know what became of it: then the second is told so, and is not sent.
* Keys are kept for a day, per gateway directory. They outlive a rebuild of the read model.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.client.requests import Request
from engine.gateway.http import OUTCOME, UNDECIDED, Problem, Reply

T = TypeVar("T")
Act = Callable[[], Awaitable[Reply]]
Recover = Callable[[], Awaitable[Reply | None]]

KEPT_S = 24 * 3600
FORGET_EVERY = 1_000
REPLAYED = "idempotency-replayed"
FILE_MODE = 0o600

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS requests (key TEXT PRIMARY KEY, digest BLOB NOT NULL, answer BLOB,"
    " at_s INTEGER NOT NULL) WITHOUT ROWID"
)


class Attempt(msgspec.Struct, kw_only=True):
    """One try to carry out a request with a key. A repeat may wait for an answer, and must send nothing."""

    key: str
    is_repeat: bool
    # Set where it is certain that nothing was sent: then the key is free.
    is_unsent: bool = False

    def name_of(self, request: Request) -> bytes:
        """What tells a command of this request from all others."""
        return b"\0".join((self.key.encode(), request.key, request.value))


ATTEMPT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


class NothingToResumeError(Exception):
    """What was sent at the first try has no answer here that could still be waited for."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it was given."""

    status: int
    body: bytes
    headers: dict[str, str]


class Keys:
    """The keys of one gateway. In one event loop; SQLite is used by a thread of its own."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error for a file that is none of ours."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(FILE_MODE)
        self._executor = ThreadPoolExecutor(1, "gateway-keys")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL").fetchall()
        # A key that a power failure takes would let its command be sent again.
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(_SCHEMA)
        self._forget_old()
        self._begun = 0
        self._under_way: dict[str, asyncio.Future[None]] = {}

    def close(self) -> None:
        """Lets go of the file."""
        self._executor.shutdown()
        self._connection.close()

    async def once(self, key: str, digest: bytes, act: Act, recover: Recover) -> Reply:
        """The reply of `act`, or the one that an earlier call with this key got. Raises Problem.

        `recover` is asked where an earlier call was cut off: what came of it may show elsewhere.
        """
        while key in self._under_way:
            await asyncio.wait({self._under_way[key]})
        self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            is_new, kept = await self._in_thread(lambda: self._begin(key, digest))
            if is_new:
                return await self._act(Attempt(key=key, is_repeat=False), act)
            if kept is not None and kept.headers.get(OUTCOME) == UNDECIDED:
                with suppress(NothingToResumeError):
                    # It may have been decided by now.
                    kept = await self._act(Attempt(key=key, is_repeat=True), act)
            kept = kept or await recover()
            if kept is None:
                raise _cut_off()
            return msgspec.structs.replace(kept, headers=kept.headers | {REPLAYED: "true"})
        finally:
            self._under_way.pop(key).set_result(None)

    async def _act(self, attempt: Attempt, act: Act) -> Reply:
        key, token = attempt.key, ATTEMPT.set(attempt)
        try:
            reply = await act()
        except Problem as problem:
            reply = Reply.of(problem)
            if problem.is_decided:
                await self._in_thread(lambda: self._finish(key, reply))
            elif problem.status < 500 or attempt.is_unsent:
                # What can't be understood was not sent: the key is free for a better request.
                await self._in_thread(lambda: self._forget(key))
            raise
        finally:
            ATTEMPT.reset(token)
        await self._in_thread(lambda: self._finish(key, reply))
        return reply

    def _in_thread(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    # --- in the thread ---

    def _begin(self, key: str, digest: bytes) -> tuple[bool, Reply | None]:
        """Whether the key is new, and from now on known; and the answer, where there is one."""
        self._begun += 1
        if self._begun % FORGET_EVERY == 0:
            self._forget_old()
        found = self._connection.execute(
            "SELECT digest, answer FROM requests WHERE key = ?", (key,)
        ).fetchone()
        if found is None:
            row = (key, digest, None, int(time.time()))
            self._connection.execute("INSERT INTO requests VALUES (?,?,?,?)", row)
            return True, None
        if found[0] != digest:
            message = "this Idempotency-Key was sent with another request; use a new one for a new request"
            raise Problem(422, "ERR_IDEMPOTENCY_KEY_REUSED", message)
        if found[1] is None:
            return False, None
        kept = msgspec.json.decode(found[1], type=Kept)
        body = msgspec.Raw(kept.body) if kept.body else None
        return False, Reply(status=kept.status, body=body, headers=kept.headers)

    def _finish(self, key: str, reply: Reply) -> None:
        kept = Kept(status=reply.status, body=reply.encoded(), headers=reply.headers)
        self._connection.execute(
            "UPDATE requests SET answer = ? WHERE key = ?", (msgspec.json.encode(kept), key)
        )

    def _forget_old(self) -> None:
        self._connection.execute("DELETE FROM requests WHERE at_s < ?", (int(time.time()) - KEPT_S,))

    def _forget(self, key: str) -> None:
        self._connection.execute("DELETE FROM requests WHERE key = ?", (key,))


def _cut_off() -> Problem:
    message = (
        "a request with this Idempotency-Key was cut off, and may or may not have been sent; look at the "
        "instance, and use a new key to send it again"
    )
    return Problem(409, "ERR_IDEMPOTENCY_OUTCOME_UNKNOWN", message)
