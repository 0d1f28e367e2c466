"""The SQLite file of a projection: its schema, and what it was made from. It is never repaired, only rebuilt.

Rules
* Rows and positions change in one transaction: the file is always true up to its positions.
* A file of another schema, another topic or other partitions is emptied; one that is no SQLite is removed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.files import inode_of

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
WAL_PAGES = 4_000
FILE_MODE = 0o600

# An instance has a number of its own, so that its events are a stretch of their table and their keys short.
_SCHEMA = """
CREATE TABLE source (identity TEXT NOT NULL);
CREATE TABLE positions (partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL);
CREATE TABLE instances (
    number INTEGER PRIMARY KEY,
    instance_id TEXT NOT NULL UNIQUE,
    partition INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    workflow TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    parent_instance_id TEXT,
    custom_status TEXT,
    stall TEXT,
    is_unreadable INTEGER NOT NULL
);
CREATE INDEX by_time ON instances (created_at_ms, instance_id);
CREATE INDEX by_workflow ON instances (workflow, created_at_ms, instance_id);
CREATE INDEX by_status ON instances (status, created_at_ms, instance_id);
CREATE INDEX by_parent ON instances (parent_instance_id, created_at_ms, instance_id)
    WHERE parent_instance_id IS NOT NULL;
CREATE TABLE events (
    instance INTEGER NOT NULL, sequence INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (instance, sequence)
) WITHOUT ROWID;
CREATE TABLE children (
    instance INTEGER NOT NULL, sequence INTEGER NOT NULL, child_id TEXT NOT NULL, workflow TEXT NOT NULL,
    PRIMARY KEY (instance, sequence)
) WITHOUT ROWID;
CREATE TABLE aggregates (
    workflow TEXT NOT NULL, status TEXT NOT NULL, instances INTEGER NOT NULL,
    PRIMARY KEY (workflow, status)
) WITHOUT ROWID;
"""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was made from. Another source means another file."""

    history_topic_id: str
    partitions: tuple[int, ...]
    schema_version: int = SCHEMA_VERSION


class Database:
    """The writer's connection. One thread."""

    def __init__(self, path: Path) -> None:
        """Makes the file, and its directory, where there is none; replaces what is no SQLite file."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(FILE_MODE)
        try:
            self._connection = _connect(path)
        except sqlite3.DatabaseError:
            remove(path)
            path.touch(FILE_MODE)
            self._connection = _connect(path)
        self._inodes = self._inodes_now()

    def prepare(self, source: Source) -> bool:
        """Whether the file is of this source already; if not, it is empty from now on."""
        written = msgspec.json.encode(source).decode()
        if self._source() == written:
            return True
        with self.transaction():
            self._clear()
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO source VALUES (?)", (written,))
        return False

    def _source(self) -> str | None:
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'source'"):
            return None
        found = self.rows("SELECT identity FROM source")
        return found[0][0] if found else None

    def _clear(self) -> None:
        # In place: readers have the file open, and would go on with one that was removed.
        for name, kind in self.rows("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"):
            if kind == "table":
                self._connection.execute(f'DROP TABLE "{name}"')

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """One statement and all its rows."""
        return self._connection.execute(statement, values).fetchall()

    def write_all(self, statement: str, values: list[tuple[object, ...]]) -> None:
        """One statement for each of these values; no statement where there are none."""
        if values:
            self._connection.executemany(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written inside, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def positions(self) -> dict[int, int]:
        """By partition, the offset of history that the file is true up to."""
        return dict(self.rows("SELECT partition, offset FROM positions"))

    def is_in_place(self) -> bool:
        """Whether others still find the file that this connection writes, and not another or none."""
        return self._inodes == self._inodes_now()

    def _inodes_now(self) -> list[int | None]:
        return [inode_of(each) for each in _files(self.path)[:2]]

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that can change nothing. Used by one thread at a time."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only=1")
    connection.row_factory = sqlite3.Row
    return connection


def remove(path: Path) -> None:
    """Deletes a file and what SQLite keeps beside it."""
    for each in _files(path):
        each.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """The bytes of a file and of what SQLite keeps beside it, as far as they are there now."""
    found = 0
    for each in _files(path):
        with suppress(FileNotFoundError):
            found += each.stat().st_size
    return found


def _files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        with closing(connection.execute("PRAGMA journal_mode=WAL")):
            pass
        # What a power failure takes is read again: the positions go with it.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
