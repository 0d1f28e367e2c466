"""What operators ask for: partitions, dead letters, and their replay. Read from the log at each call."""

import asyncio
from contextlib import closing
from itertools import islice
from typing import Annotated

from msgspec import Meta

from engine.client.connection import Connection
from engine.client.deadletters import (
    DeadLetterEntry,
    LetterFilter,
    find_dead_letter,
    newest_of,
    no_dead_letter,
    parse_place,
    read_dead_letters,
    replayable,
)
from engine.client.partitions import read_partitions
from engine.gateway.http import (
    Body,
    Call,
    ErrorBody,
    Parameter,
    Problem,
    Reply,
    Response,
    Route,
    operation,
    routes_of,
)
from engine.gateway.service import Service
from engine.gateway.shapes import (
    DeadLetter,
    DeadLetters,
    Partitions,
    Replay,
    Replayed,
    dead_letter_of,
    letter_filter_of,
)

LETTERS_SHOWN_MAX = 1_000
VALUE_BYTES_LISTED = 256

Rows = Annotated[int, Meta(ge=1, le=LETTERS_SHOWN_MAX)]
Number = Annotated[int, Meta(ge=0, le=2**62)]

_REASON = Parameter(name="reason", prose="Only those refused for this reason.")
_PREFIX = Parameter(name="prefix", prose="Only those whose key begins like this.", default="")
_ROWS = Parameter(name="limit", prose="How many at most.", kind=Rows, default=100)
_PARTITION = Parameter(name="partition", where="path", prose="Its partition.", kind=Number)
_OFFSET = Parameter(name="offset", where="path", prose="Its offset.", kind=Number)
_INVALID = Response(status=400, prose="The request can't be understood.", kind=ErrorBody)
_LARGE = Response(status=413, prose="It is too large.", kind=ErrorBody)
_LATER = Response(status=503, prose="The log or the read model can't be read now.", kind=ErrorBody)


class OperatorApi:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        # Another replay would stop the one before.
        self._replaying = asyncio.Lock()

    def routes(self) -> list[Route]:
        """All of them."""
        return routes_of(self, prefix="/api/v1", tag="For operators")

    @operation("GET", "/partitions", Response(status=200, prose="The partitions.", kind=Partitions), _LATER)
    async def get_partitions(self, call: Call) -> Reply:
        """Who owns each partition, in which epoch, and what waits in it."""
        live = await self._service.read(lambda reader: reader.live())
        found = await self._service.ask_log(lambda connection: read_partitions(connection, live))
        return Reply(status=200, body=Partitions(found))

    @operation(
        "GET",
        "/deadletters",
        Response(status=200, prose="Dead letters.", kind=DeadLetters),
        _INVALID,
        _LATER,
        parameters=(_REASON, _PREFIX, _ROWS),
    )
    async def list_dead_letters(self, call: Call) -> Reply:
        """The records that were refused, the newest first."""
        wanted = LetterFilter(reason=call["reason"], prefix=call["prefix"])
        found = await self._service.ask_log(lambda log: list_letters(log, wanted, call["limit"]))
        return Reply(status=200, body=found)

    @operation(
        "GET",
        "/deadletters/{partition}/{offset}",
        Response(status=200, prose="The dead letter.", kind=DeadLetter),
        _INVALID,
        Response(status=404, prose="There is no such dead letter.", kind=ErrorBody),
        _LATER,
        parameters=(_PARTITION, _OFFSET),
    )
    async def get_dead_letter(self, call: Call) -> Reply:
        """One dead letter with all of its value."""
        place = (call["partition"], call["offset"])
        found = await self._service.ask_log(lambda connection: find_dead_letter(connection, place))
        if found is None:
            raise Problem(404, "ERR_DEAD_LETTER_NOT_FOUND", str(no_dead_letter(place)))
        return Reply(status=200, body=dead_letter_of(found))

    @operation(
        "POST",
        "/deadletters/replay",
        Response(status=200, prose="What it came to.", kind=Replayed),
        _INVALID,
        _LARGE,
        _LATER,
        body=Body(prose="Which, and whether in earnest.", kind=Replay, is_required=True),
        is_command=True,
    )
    async def replay_dead_letters(self, call: Call) -> Reply:
        """Publish refused commands once more, each at most once."""
        replay = call.decode(Replay)
        wanted = letter_filter_of(replay.filter)
        after = (-1, -1) if replay.after is None else parse_place(replay.after)

        def carry_out(connection: Connection) -> Replayed:
            if replay.dry_run:
                found = list(islice(replayable(connection, wanted, after), replay.limit + 1))
                return _replayed(replay, found, 0)
            with closing(connection.open_replayer()) as replayer:
                found = list(islice(replayable(connection, wanted, after), replay.limit + 1))
                return _replayed(replay, found, replayer.replay(found[: replay.limit]))

        async with self._replaying:
            return Reply(status=200, body=await self._service.ask_log(carry_out))


def list_letters(connection: Connection, wanted: LetterFilter, limit: int) -> DeadLetters:
    """The newest dead letters, with the beginnings of their values."""
    newest, total = newest_of(filter(wanted.accepts, read_dead_letters(connection)), limit)
    shown = [dead_letter_of(letter, VALUE_BYTES_LISTED) for letter in newest]
    return DeadLetters(dead_letters=shown, total=total)


def _replayed(replay: Replay, found: list[DeadLetterEntry], replayed: int) -> Replayed:
    return Replayed(
        dry_run=replay.dry_run,
        places=[letter.place for letter in found[: replay.limit]],
        replayed=replayed,
        more=len(found) > replay.limit,
    )
