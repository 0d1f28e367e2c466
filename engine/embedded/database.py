"""The SQLite file of an embedded log: its schema and every statement that is run on it.

A record's rowid, its *place*, is its partition and offset in one number: appending to a partition is
appending to a stretch of the table's own tree, and no index is needed.
"""

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from engine.errors import ConfigurationError, Fault, LogDamagedFault, LogUnavailableFault
from engine.files import inode_of
from engine.partition.ports import Headers, Record

DATABASE_FILE = "log.sqlite3"
SCHEMA_VERSION = 1
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1
BUSY_TIMEOUT_S = 30.0
# The log is checkpointed into the database file by the committing thread; seldom, because that calls fsync.
WAL_PAGES = 4_000
READ_RECORDS_MAX = 2_000
READ_BYTES_MAX = 4 * 1024 * 1024

COMMANDS = "commands"
INBOX = "inbox"
HISTORY = "history"
DEADLETTER = "deadletter"
REPLIES = "replies"
# Under this name the dead letters that were replayed are noted, by their offset.
REPLAYED = "replayed dead letters"
TOPICS = (COMMANDS, INBOX, HISTORY, DEADLETTER, REPLIES)

# A row at a time would give the GIL away at every row, and a busy neighbour thread returns it only after its
# switch interval. Few sizes, so that the statements stay prepared; 128 rows stay below the 999 variables of
# old SQLites.
INSERT_SIZES = (128, 16, 4, 1)

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE topics (name TEXT PRIMARY KEY, topic_id TEXT NOT NULL, partitions INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE starts (topic TEXT, partition INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (topic, partition))
    WITHOUT ROWID;
CREATE TABLE progress (name TEXT, partition INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (name, partition))
    WITHOUT ROWID;
CREATE TABLE claims (partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
"""
_TOPIC_SCHEMA = (
    "CREATE TABLE {} (place INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL,"
    " key BLOB NOT NULL, value BLOB, headers BLOB)"
)
_RANGE = "place >= ? AND place < ?"
# The only names put into a statement are TOPICS.
_INSERT = {
    (topic, size): f"INSERT INTO {topic} VALUES " + ",".join(["(?,?,?,?,?)"] * size)  # noqa: S608
    for topic in TOPICS
    for size in INSERT_SIZES
}
_SELECT = {
    topic: f"SELECT * FROM {topic} WHERE {_RANGE} ORDER BY place LIMIT ?"  # noqa: S608
    for topic in TOPICS
}
_LAST = {topic: f"SELECT max(place) FROM {topic} WHERE {_RANGE}" for topic in TOPICS}  # noqa: S608
_DELETE = {topic: f"DELETE FROM {topic} WHERE {_RANGE}" for topic in TOPICS}  # noqa: S608
_DELETE_KEY = {topic: f"{_DELETE[topic]} AND key = ?" for topic in TOPICS}

Row: TypeAlias = tuple[int, int, bytes, bytes | None, bytes | None]


def holds_log(directory: Path) -> bool:
    """Whether there is an embedded log in a directory, served or not."""
    return (directory / DATABASE_FILE).exists()


class Topic(msgspec.Struct, frozen=True):
    """A topic as it was created."""

    topic_id: str
    partitions: int


def _make(path: Path) -> None:
    """Makes an empty file that has a write-ahead log, unless there is a file.

    Beside its place, and then put there: while a file gets its write-ahead log, SQLite lets nobody look, and
    somebody who looks in that moment would end its maker.
    """
    if path.exists() and path.stat().st_size:
        return
    new = path.with_name(f"{path.name}.new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        # Something must be written for the mode to be kept.
        connection.execute("PRAGMA user_version=1")
    new.rename(path)


class Database:
    """One connection. May be used by several threads, but by one at a time."""

    def __init__(self, directory: Path, *, create: bool) -> None:
        """Raises ConfigurationError where there is no log, or a file that is none; LogUnavailableFault."""
        self.path = path = directory / DATABASE_FILE
        uri = f"{path.absolute().as_uri()}?mode=rw"
        try:
            if create:
                _make(path)
            self._connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.Error as error:
            message = f"expected an embedded log in {directory}, but: {error}; start the engine there first"
            raise ConfigurationError(message) from error
        try:
            self._set_up()
        except sqlite3.DatabaseError as error:
            self.close()
            if _is_busy(error):
                # That passes. Taken for damage, it would make a reader give up the place that it has read to.
                raise fault_of(error) from error
            message = (
                f"expected {path} to be an embedded log, but: {error}; move it away or use another directory"
            )
            raise ConfigurationError(message) from error

        self._inode = inode_of(path)

    def check_in_place(self) -> None:
        """Raises ConfigurationError where the file has gone: what is written now, nobody would find again."""
        if inode_of(self.path) != self._inode:
            message = (
                f"expected {self.path} to stay where it is while the engine runs, but it was removed or "
                "replaced: what was in it is lost; start anew, or with a copy of it"
            )
            raise ConfigurationError(message)

    def _set_up(self) -> None:
        self.run("PRAGMA synchronous=NORMAL")
        self.run(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        # The first that looks into the file, and finds what is none.
        self.run("SELECT 1 FROM sqlite_master LIMIT 1")

    def close(self) -> None:
        """Closes the connection; the last one to close also removes the write-ahead log."""
        self._connection.close()

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """One statement and all its rows. An open cursor would keep the write-ahead log from ending."""
        return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is run inside, or nothing."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.run("ROLLBACK")
            raise

    def create(self, partitions: dict[str, int]) -> None:
        """Makes the topics where there are none. Raises ConfigurationError where there are others."""
        with self.transaction():
            if not self.run("SELECT 1 FROM sqlite_master LIMIT 1"):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self.run(statement)
                self.run("INSERT INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
            # A log of an earlier release has fewer topics; a file of another kind has none.
            existing = self.topics()
            for name in TOPICS:
                if name not in existing:
                    self.run(_TOPIC_SCHEMA.format(name))
                    self.run(
                        "INSERT INTO topics VALUES (?, ?, ?)", (name, uuid.uuid4().hex, partitions[name])
                    )
        for name, topic in self.topics().items():
            if topic.partitions != partitions[name]:
                message = (
                    f"expected {partitions[name]} partitions of {name}, but the log has {topic.partitions}"
                )
                raise ConfigurationError(message)

    def topics(self) -> dict[str, Topic]:
        """The topics as created. Raises ConfigurationError for a file of another kind or version."""
        try:
            ((version,),) = self.run("SELECT value FROM meta WHERE name = 'schema_version'")
            rows = self.run("SELECT name, topic_id, partitions FROM topics")
        except (sqlite3.OperationalError, ValueError) as error:
            message = f"expected an embedded log, but the database is something else: {error}"
            raise ConfigurationError(message) from error
        if version != SCHEMA_VERSION:
            message = f"expected an embedded log of version {SCHEMA_VERSION}, but it is of version {version}"
            raise ConfigurationError(message)
        return {name: Topic(topic_id, partitions) for name, topic_id, partitions in rows}

    def read(
        self, topic: str, partition: int, start: int, end: int, limit: int = READ_RECORDS_MAX
    ) -> list[Record]:
        """Records from offset `start` up to `end`: the first `limit`, or fewer where they are large."""
        bounds = (place_of(partition, start), place_of(partition, min(end, OFFSET_MASK)), limit)
        cursor = self._connection.execute(_SELECT[topic], bounds)
        found = []
        size = 0
        for row in cursor:
            found.append(_record_of(row))
            size += len(row[2]) + len(row[3] or b"")
            if size >= READ_BYTES_MAX:
                break
        cursor.close()
        return found

    def insert(self, topic: str, rows: Sequence[Row]) -> None:
        """Adds the rows."""
        done = 0
        for size in INSERT_SIZES:
            while len(rows) - done >= size:
                values = [value for row in rows[done : done + size] for value in row]
                self._connection.execute(_INSERT[topic, size], values)
                done += size

    def start_offset(self, topic: str, partition: int) -> int:
        """The first offset that was not trimmed."""
        rows = self.run("SELECT offset FROM starts WHERE topic = ? AND partition = ?", (topic, partition))
        return int(rows[0][0]) if rows else 0

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will have.

        In history the end of a commit takes an offset too, as Kafka's marker does: nobody may come to rely on
        history's offsets being dense.
        """
        ((place,),) = self.run(_LAST[topic], (place_of(partition, 0), place_of(partition, OFFSET_MASK)))
        if place is None:
            return self.start_offset(topic, partition)
        return (int(place) & OFFSET_MASK) + (2 if topic == HISTORY else 1)

    def delete(self, topic: str, partition: int, start: int, end: int) -> None:
        """Deletes the records from `start` up to `end` and notes that the topic begins there."""
        self.run(_DELETE[topic], (place_of(partition, start), place_of(partition, end)))
        self.run("INSERT OR REPLACE INTO starts VALUES (?, ?, ?)", (topic, partition, end))

    def delete_key(self, topic: str, partition: int, bounds: tuple[int, int], key: bytes) -> None:
        """Deletes one key's records within the bounds."""
        start, end = bounds
        self.run(_DELETE_KEY[topic], (place_of(partition, start), place_of(partition, end), key))

    def progress(self, name: str, partition: int) -> int | None:
        """What was last noted under the name."""
        rows = self.run("SELECT offset FROM progress WHERE name = ? AND partition = ?", (name, partition))
        return int(rows[0][0]) if rows else None

    def set_progress(self, name: str, partition: int, offset: int) -> None:
        """Notes an offset under a name."""
        self.run("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", (name, partition, offset))

    def noted(self, name: str) -> set[int]:
        """All that was noted under the name: by partition, or by offset where that is what is noted."""
        return {number for (number,) in self.run("SELECT partition FROM progress WHERE name = ?", (name,))}

    def epochs(self) -> dict[int, int]:
        """The last claim of each partition that was ever claimed."""
        return dict(self.run("SELECT partition, epoch FROM claims"))

    def set_epoch(self, partition: int, epoch: int) -> None:
        """Fences all earlier claims."""
        self.run("INSERT OR REPLACE INTO claims VALUES (?, ?)", (partition, epoch))

    def data_version(self) -> int:
        """Another number whenever another connection, of any process, has committed."""
        ((version,),) = self.run("PRAGMA data_version")
        return int(version)


def place_of(partition: int, offset: int) -> int:
    """A record's rowid."""
    return partition << OFFSET_BITS | offset


def headers_to_bytes(headers: Headers) -> bytes | None:
    """As they are stored; most records have none."""
    return msgspec.msgpack.encode(headers) if headers else None


def fault_of(error: sqlite3.Error) -> Fault:
    """A full disk or a lock held too long may pass; a damaged file does not."""
    if isinstance(error, sqlite3.OperationalError):
        return LogUnavailableFault(f"SQLite: {error}")
    return LogDamagedFault(f"SQLite: {error}")


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def as_faults() -> Iterator[None]:
    """Turns SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise fault_of(error) from error


def _record_of(row: Row) -> Record:
    place, timestamp_ms, key, value, headers = row
    return Record(
        partition=place >> OFFSET_BITS,
        offset=place & OFFSET_MASK,
        timestamp_ms=timestamp_ms,
        key=key,
        value=value,
        headers=msgspec.msgpack.decode(headers, type=Headers) if headers else (),
    )
