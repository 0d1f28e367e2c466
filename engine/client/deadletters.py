"""Dead letters: what was refused, and how it is published once more, each at most once.

Rules
* A replay publishes the record as it was and marks its dead letter as replayed, in one transaction: both are
  true, or neither. Whoever is killed in the middle can begin again, and leaves out what is marked.
* A mark lies behind its dead letter, in the same partition of the same topic, so it is kept as long.
* What is refused again is another dead letter, with a place of its own.
"""

import heapq
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from engine.client.connection import Connection
from engine.client.state import plain, utc
from engine.codec.avro import UndecodableError, decode_command
from engine.errors import InstanceNotFoundError, InvalidCommandError
from engine.partition.ports import Headers, Record

# No refused record has it as its whole key and says of which letter it is: ids don't begin with `~`.
MARK_KEY = b"~replayed"
_MARK_HEADER = "replayed.offset"
_PLACE = re.compile(r"([0-9]{1,9})/([0-9]{1,18})")
_COMMANDS = "commands/"

Place = tuple[int, int]


class DeadLetterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was refused, and why.

    Attributes:
        partition: Of the dead letter.
        offset: Of the dead letter.
        refused_at_ms: When it was refused, UTC.
        reason: One of the reasons of `engine.model.effects.Reason`.
        detail: The reason in words.
        source: Where the refused record was: topic, partition and offset.
        key: Its key, usually the instance id.
        value: Its bytes, unchanged.
        is_replayed: Whether it was published once more.

    """

    partition: int
    offset: int
    refused_at_ms: int
    reason: str
    detail: str
    source: str
    key: bytes
    value: bytes
    is_replayed: bool = False

    @property
    def place(self) -> str:
        """What it is found by."""
        return place_text((self.partition, self.offset))

    @property
    def is_command(self) -> bool:
        """Whether somebody outside has sent it: what the engine tells itself is not sent again."""
        return self.source.startswith(_COMMANDS)

    def command(self) -> dict[str, Any] | None:
        """The command that its value holds in Avro; None where that is text, or can't be read as one."""
        try:
            command = decode_command(self.value)
        except UndecodableError:
            return None
        return {"type": type(command).__name__, **plain(command)}

    def to_json(self, value_bytes_max: int | None = None) -> dict[str, Any]:
        """Values that JSON has: bytes as text where they are UTF-8, else in hexadecimal.

        Where the value is shown whole, a command in Avro is shown decoded too.
        """
        return {
            "place": self.place,
            "refused_at": f"{utc(self.refused_at_ms).isoformat(timespec='milliseconds')}Z",
            "source": self.source,
            "reason": self.reason,
            "detail": self.detail,
            "is_replayed": self.is_replayed,
            **_bytes_to_json("key", self.key, value_bytes_max),
            **_bytes_to_json("value", self.value, value_bytes_max),
            "value_bytes": len(self.value),
            "command": self.command() if value_bytes_max is None else None,
        }


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant: those that all given conditions hold for.

    Attributes:
        reason: Only those refused for this reason.
        prefix: Only those whose key begins like this.
        places: Only these; empty means all.

    """

    reason: str | None = None
    prefix: str = ""
    places: frozenset[Place] = frozenset()

    def accepts(self, letter: DeadLetterEntry) -> bool:
        """Whether it is one of them."""
        if self.reason not in (None, letter.reason):
            return False
        if self.places and (letter.partition, letter.offset) not in self.places:
            return False
        return letter.key.startswith(self.prefix.encode())


def read_dead_letters(connection: Connection) -> Iterator[DeadLetterEntry]:
    """All dead letters that are still kept, partition by partition, the oldest first."""
    # Twice, so that no more than the marks is held in memory.
    replayed = {mark for batch in connection.read_dead_letters() for mark in map(_marked, batch) if mark}
    for batch in connection.read_dead_letters():
        for record in batch:
            if _marked(record) is None:
                yield _dead_letter_of(record, is_replayed=(record.partition, record.offset) in replayed)


def replayable(
    connection: Connection, wanted: LetterFilter, after: Place = (-1, -1)
) -> Iterator[DeadLetterEntry]:
    """The commands among the dead letters that a filter means, behind a place, but for those replayed."""
    for letter in read_dead_letters(connection):
        is_behind = (letter.partition, letter.offset) > after
        if is_behind and letter.is_command and not letter.is_replayed and wanted.accepts(letter):
            yield letter


def find_dead_letter(connection: Connection, place: Place) -> DeadLetterEntry | None:
    """The dead letter at a place, None where there is none."""
    letters = read_dead_letters(connection)
    return next((each for each in letters if (each.partition, each.offset) == place), None)


def no_dead_letter(place: Place) -> InstanceNotFoundError:
    """What is said where there is none at a place."""
    return InstanceNotFoundError(f"expected a dead letter at {place_text(place)}, but there is none")


def newest_of(letters: Iterable[DeadLetterEntry], limit: int) -> tuple[list[DeadLetterEntry], int]:
    """The newest, the newest first; and how many there are. No more than these are held in memory."""
    newest: list[tuple[int, int, int, DeadLetterEntry]] = []
    total = 0
    for total, letter in enumerate(letters, 1):
        entry = (letter.refused_at_ms, letter.partition, letter.offset, letter)
        if total <= limit:
            heapq.heappush(newest, entry)
        else:
            heapq.heappushpop(newest, entry)
    return [entry[-1] for entry in sorted(newest, reverse=True)], total


def parse_place(text: str) -> Place:
    """The place that a dead letter is named by. Raises InvalidCommandError."""
    parsed = _PLACE.fullmatch(text)
    if parsed is None:
        message = f"expected PARTITION/OFFSET such as 0/17, but got {text!r:.100}"
        raise InvalidCommandError(message)
    return int(parsed[1]), int(parsed[2])


def place_text(place: Place) -> str:
    """As people and programs are shown it."""
    return f"{place[0]}/{place[1]}"


def mark_headers(offset: int) -> Headers:
    """What a mark says of the dead letter in its partition."""
    return ((_MARK_HEADER, str(offset).encode()),)


def mark_of(partition: int, offset: int) -> Record:
    """A mark as a record, for a log that keeps marks elsewhere."""
    return Record(partition, -1, 0, MARK_KEY, None, mark_headers(offset))


def _marked(record: Record) -> Place | None:
    """The dead letter that a mark is of; None for what is none."""
    if record.key != MARK_KEY:
        return None
    offset = dict(record.headers).get(_MARK_HEADER, b"")
    return (record.partition, int(offset)) if offset.isdigit() else None


def _dead_letter_of(record: Record, *, is_replayed: bool) -> DeadLetterEntry:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    place = (headers.get(name, "?") for name in ("source.topic", "source.partition", "source.offset"))
    at = headers.get("refused_at_ms", "")
    return DeadLetterEntry(
        partition=record.partition,
        offset=record.offset,
        refused_at_ms=int(at) if at.isdigit() else record.timestamp_ms,
        reason=headers.get("reason", "unknown"),
        detail=headers.get("detail", ""),
        source="/".join(place),
        key=record.key,
        value=record.value or b"",
        is_replayed=is_replayed,
    )


def _bytes_to_json(name: str, data: bytes, bytes_max: int | None) -> dict[str, str | None]:
    """Always both fields, one of them null; only the first `bytes_max` bytes."""
    shown = data[:bytes_max]
    try:
        data.decode()
    except UnicodeDecodeError:
        return {name: None, f"{name}_hex": shown.hex()}
    # Only a character that the cut halves is ignored.
    return {name: shown.decode("utf-8", "ignore"), f"{name}_hex": None}
