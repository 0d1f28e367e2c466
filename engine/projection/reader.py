"""Questions to the read model. One reader serves one thread at a time; it sees whole transactions only."""

import base64
import binascii
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from engine.client.state import WorkflowHistoryEvent, history_event_of, utc
from engine.codec.avro import UndecodableError, decode_event
from engine.codec.schemas import HEADER_BYTES, MAGIC
from engine.errors import InvalidCommandError
from engine.model.state import Status
from engine.projection.database import open_for_reading
from engine.projection.views import Count, Filter, Instance, InstanceRow, Page, instance_of

PAGE_ROWS_MAX = 1_000
UNREADABLE_EVENT = "Unreadable"


class Order(StrEnum):
    """How a list is sorted.

    By creation, an instance that is started again or continued as new while somebody pages moves to the
    front; by id each is listed exactly once, whatever happens meanwhile.
    """

    NEWEST_FIRST = "newest"
    BY_ID = "id"


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Behind which instance a page goes on."""

    created_at_ms: int
    instance_id: str


class Reader:
    """Reads a projection's file."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.OperationalError where there is no file."""
        self._connection = open_for_reading(path)

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    def is_sound(self) -> bool:
        """Whether SQLite finds nothing wrong with the file. Reads all of it."""
        return [row[0] for row in self._rows("PRAGMA quick_check(1)")] == ["ok"]

    def positions(self) -> dict[int, int]:
        """By partition, the offset of history that is shown."""
        return {row["partition"]: row["offset"] for row in self._rows("SELECT * FROM positions")}

    # --- one instance ---

    def find(self, instance_id: str) -> Instance | None:
        """The instance with its payloads; None where there is none."""
        with self._moment():
            found = self._rows("SELECT * FROM instances WHERE instance_id = ?", (instance_id,))
            if not found:
                return None
            row = _row_of(found[0])
            places = (found[0]["number"], row.events if row.status in _ENDED else 1)
            events = [decode_event(each["value"])[1].event for each in self._rows(_FIRST_AND_LAST, places)]
        return instance_of(row, events[0], events[-1])

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """All statements inside see the same state."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def history(self, instance_id: str, *, after: int = 0, limit: int = -1) -> list[WorkflowHistoryEvent]:
        """The events of the newest run behind number `after`; [] where there is no such instance."""
        statement = (
            "SELECT run_id, updated_at_ms, e.sequence, value FROM instances"
            " JOIN events e ON e.instance = number"
            " WHERE instance_id = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?"
        )
        return [_event_of(row) for row in self._rows(statement, (instance_id, after, limit))]

    def values(self, instance_id: str, partition: int) -> tuple[int, list[bytes]]:
        """The events of the newest run as they are on record, and the position of history they are up to."""
        statement = (
            "SELECT value FROM instances JOIN events ON instance = number WHERE instance_id = ?"
            " ORDER BY events.sequence"
        )
        with self._moment():
            position = self.positions().get(partition, 0)
            return position, [row["value"] for row in self._rows(statement, (instance_id,))]

    def children(self, instance_id: str) -> list[tuple[str, str]]:
        """Id and workflow of every child that the newest run asked for, in that order."""
        statement = (
            "SELECT child_id, children.workflow FROM instances JOIN children ON instance = number"
            " WHERE instance_id = ? ORDER BY children.sequence"
        )
        return [(row[0], row[1]) for row in self._rows(statement, (instance_id,))]

    # --- many ---

    def page(
        self, wanted: Filter, *, order: Order = Order.NEWEST_FIRST, after: str | None = None, limit: int = 100
    ) -> Page:
        """Up to `limit` instances behind `after`, which a page before said. Raises InvalidCommandError."""
        if not 1 <= limit <= PAGE_ROWS_MAX:
            message = f"expected a page of 1 to {PAGE_ROWS_MAX:,} instances, but got {limit:,}"
            raise InvalidCommandError(message)
        conditions, values = _conditions(wanted)
        if after is not None:
            place = decode_mark(after)
            conditions.append(_BEHIND[order])
            values |= {"after_ms": place.created_at_ms, "after_id": place.instance_id}
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        # Only the constants above are put into the statement; what users say is bound.
        statement = f"SELECT * FROM instances{where} ORDER BY {_ORDERED[order]} LIMIT :limit"  # noqa: S608
        found = self._connection.execute(statement, values | {"limit": limit + 1}).fetchall()
        rows = tuple(_row_of(each) for each in found[:limit])
        return Page(rows=rows, next_after=_mark_of(rows[-1]) if len(found) > limit else None)

    def pages(self, wanted: Filter, after_id: str = "") -> Iterator[InstanceRow]:
        """All instances by id, behind one, however many pages that takes."""
        after: str | None = encode_mark(0, after_id)
        while True:
            page = self.page(wanted, order=Order.BY_ID, after=after, limit=PAGE_ROWS_MAX)
            yield from page.rows
            after = page.next_after
            if after is None:
                return

    def live(self) -> dict[int, int]:
        """How many instances are not over, by partition. Reads all of them."""
        statement = "SELECT partition, count(*) FROM instances WHERE status NOT IN (?,?,?) GROUP BY partition"
        return {row[0]: row[1] for row in self._rows(statement, tuple(_ENDED))}

    def counts(self) -> list[Count]:
        """How many instances there are, by workflow and status."""
        return [
            Count(workflow=row["workflow"], status=Status(row["status"]), instances=row["instances"])
            for row in self._rows("SELECT * FROM aggregates ORDER BY workflow, status")
        ]

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        return self._connection.execute(statement, values).fetchall()


_FIRST_AND_LAST = "SELECT value FROM events WHERE instance = ? AND sequence IN (1, ?) ORDER BY sequence"
_ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.TERMINATED})
_ORDERED = {Order.NEWEST_FIRST: "created_at_ms DESC, instance_id DESC", Order.BY_ID: "instance_id"}
_BEHIND = {
    Order.NEWEST_FIRST: "(created_at_ms, instance_id) < (:after_ms, :after_id)",
    Order.BY_ID: "instance_id > :after_id",
}


def _conditions(wanted: Filter) -> tuple[list[str], dict[str, object]]:
    values: dict[str, object] = {}
    conditions: list[str] = []
    for condition, name, value in (
        ("workflow = :workflow", "workflow", wanted.workflow),
        ("parent_instance_id = :parent", "parent", wanted.parent),
        ("created_at_ms >= :from_ms", "from_ms", wanted.created_from_ms),
        ("created_at_ms < :before_ms", "before_ms", wanted.created_before_ms),
    ):
        if value is not None:
            conditions.append(condition)
            values[name] = value
    if wanted.prefix:
        # The last code point of all can't be in an id: it is not printable.
        conditions.append("instance_id >= :prefix AND instance_id <= :prefix || char(0x10FFFF)")
        values["prefix"] = wanted.prefix
    if wanted.statuses:
        names = [f"status_{number}" for number in range(len(wanted.statuses))]
        conditions.append(f"status IN ({', '.join(f':{name}' for name in names)})")
        values |= dict(zip(names, (status.value for status in wanted.statuses), strict=True))
    return conditions, values


def encode_mark(created_at_ms: int, instance_id: str) -> str:
    """The mark of the page that goes on behind an instance."""
    data = msgspec.json.encode(Mark(created_at_ms, instance_id))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_mark(text: str) -> Mark:
    """What `encode_mark` has said. Raises InvalidCommandError."""
    try:
        # A text that was made elsewhere may be anything.
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place = msgspec.json.decode(data, type=Mark)
        place.instance_id.encode()
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        message = f"expected the mark of a page as an answer said it, but got {text!r:.100}"
        raise InvalidCommandError(message) from None
    if not -(2**63) <= place.created_at_ms < 2**63:
        message = f"expected the mark of a page, but its time is {place.created_at_ms}"
        raise InvalidCommandError(message)
    return place


# --- rows to values ---


def _mark_of(row: InstanceRow) -> str:
    return encode_mark(row.created_at_ms, row.instance_id)


def _row_of(row: sqlite3.Row) -> InstanceRow:
    return InstanceRow(
        instance_id=row["instance_id"],
        run_id=row["run_id"],
        workflow=row["workflow"],
        status=Status(row["status"]),
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        events=row["sequence"],
        partition=row["partition"],
        parent_instance_id=row["parent_instance_id"],
        custom_status=row["custom_status"],
        stall_reason=row["stall"],
        is_unreadable=bool(row["is_unreadable"]),
    )


def _event_of(row: sqlite3.Row) -> WorkflowHistoryEvent:
    value: bytes = row["value"]
    try:
        return history_event_of(decode_event(value)[1])
    except UndecodableError:
        fingerprint = value[len(MAGIC) : HEADER_BYTES].hex()
        return WorkflowHistoryEvent(
            event_id=row["sequence"],
            run_id=row["run_id"],
            timestamp=utc(row["updated_at_ms"]),
            event_type=UNREADABLE_EVENT,
            attributes={"schema": fingerprint, "bytes": len(value)},
        )
