"""The store on RocksDB. What is wrong with its files is found, or empties it; never does it answer wrongly.

Rules: raw mode always; the position is written in the same batch as the data it stands for; every scan ends
with a look at the iterator's status, because an iterator stops silently at a corrupt block; no iterator
outlives the store, because it would keep the directory locked.

Theory of operation: there is no write-ahead log, so a crash loses what was not flushed. What is left is a
prefix of the batches, as there is a single column family, and the position in it says which. The owner reads
the history on from there. Writes ask for a flush now and then to keep that stretch short; RocksDB does it on
its own threads.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from rocksdict import Rdict, RdictIter, ReadOptions, WriteBatch

from engine.errors import CacheCorruptFault, ConfigurationError
from engine.partition.ports import StorePosition
from engine.store import directory as directories
from engine.store import tuning

# Behind every other key, so that a scan of everything can end before it.
META_KEY = b"\xff\xff~position"
# Raised when keys or values mean something else than before: stores of other engines are then wiped.
FORMAT = 2
FLUSH_INTERVAL_S = 5.0
FLUSH_BYTES = 8 * 1024 * 1024

T = TypeVar("T")

_logger = logging.getLogger(__name__)
# RocksDB's lock is the process's, so a second opener in the same process has to be found out here.
_open_directories: set[Path] = set()
_open_directories_lock = threading.Lock()


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    format: int
    partition: int
    history_topic_id: str
    history_position: int
    written_at_ms: int
    checkpoint: bytes


class _Cursor:
    """A scan in progress. Closing the store ends it, wherever its reader may be."""

    def __init__(self, iterator: RdictIter, options: ReadOptions) -> None:
        self.iterator: RdictIter | None = iterator
        # RocksDB points into the options for as long as it iterates.
        self._options = options

    def live(self) -> RdictIter:
        assert self.iterator is not None, "the store was closed during a scan"
        return self.iterator


# Databases whose directory was removed under them, and the one that it was in.
_left_open: list[Rdict] = []


class RocksStore:
    """One partition's cache in one directory. For one thread. Made by `open_store`."""

    def __init__(self, directory: Path, topic_id: str, partition: int) -> None:
        self._directory = directory
        self._topic_id = topic_id
        self._partition = partition
        self._write_options = tuning.write_options()
        self._cursors: set[_Cursor] = set()
        self._is_closed = False
        self._start()
        try:
            self._position = self._read_position()
        except BaseException:
            self._stop()
            raise

    def position(self) -> StorePosition | None:
        """What the last write said, None for a new or wiped store."""
        return self._position

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`. Raises CacheCorruptFault.

        One by one: RocksDB's multi-get is not faster here, and it gives the GIL away, which a busy neighbour
        thread returns only after its switch interval.
        """
        get = self._database.get
        return _checked(lambda: [get(key) for key in keys])

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with `prefix`, from `start` on, in order, as they were when one was asked for.

        Raises CacheCorruptFault, also for a scan cut short.
        """
        options = ReadOptions()
        options.set_iterate_upper_bound(_end_of(prefix))
        cursor = _Cursor(_checked(lambda: self._database.iter(options)), options)
        self._cursors.add(cursor)
        try:
            cursor.live().seek(max(prefix, start))
            while cursor.live().valid():
                yield cursor.live().key(), cursor.live().value()
                cursor.live().next()
            # Not the bound method: the traceback of a fault would keep the iterator alive, and so the lock.
            _checked(lambda: cursor.live().status())
        finally:
            self._cursors.discard(cursor)
            cursor.iterator = None

    def write(
        self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], position: StorePosition
    ) -> None:
        """All of it and the position, at once. A key in both is deleted. Raises CacheCorruptFault."""
        assert position.history_topic_id == self._topic_id, "a store holds one topic's history"
        batch = WriteBatch(raw_mode=True)
        for key, value in puts:
            assert key < META_KEY, f"{key!r} is reserved"
            batch.put(key, value)
        for key in deletes:
            batch.delete(key)
        batch.put(META_KEY, _encode(position, self._partition))
        size = batch.size_in_bytes()
        _checked(lambda: self._database.write(batch, self._write_options))
        self._position = position
        self._flush_when_due(size)

    def wipe(self) -> None:
        """Empties it. Raises ConfigurationError where that can't be done."""
        self._stop()
        _empty(self._directory)
        self._start()
        self._position = None

    def size_bytes(self) -> int:
        """What its files take. Any thread, also while files come and go."""
        return directories.size_bytes(self._directory)

    def close(self) -> None:
        """Writes to disk what is only in memory, and lets go of the files. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._stop()
        finally:
            _unregister(self._directory)

    def _start(self) -> None:
        self._unflushed_bytes = 0
        self._flushed_at = time.monotonic()
        self._database = _checked(lambda: Rdict(str(self._directory), tuning.options()))

    def _stop(self) -> None:
        for cursor in self._cursors:
            cursor.iterator = None
        self._cursors.clear()
        if not self._directory.parent.exists():
            # Closing would wait for ever for files that can't be written: it goes with the process.
            _left_open.append(self._database)
            return
        # Closing flushes. It closes also where it fails to, and what is lost is read from the history again.
        with suppress(CacheCorruptFault):
            _checked(self._database.close)

    def _flush_when_due(self, written_bytes: int) -> None:
        self._unflushed_bytes += written_bytes
        now = time.monotonic()
        if self._unflushed_bytes < FLUSH_BYTES and now - self._flushed_at < FLUSH_INTERVAL_S:
            return
        _checked(lambda: self._database.flush(wait=False))
        self._unflushed_bytes = 0
        self._flushed_at = now

    def _read_position(self) -> StorePosition | None:
        data = _checked(lambda: self._database.get(META_KEY))
        if data is not None:
            return _decode(data, self._partition, self._topic_id)
        # Every write carries a position, so data without one is damage.
        if next(self.scan(b""), None) is not None:
            message = f"expected {self._directory} to hold a position with its data, but it has none"
            raise CacheCorruptFault(message)
        return None


def open_store(directory: Path, topic_id: str, partition: int) -> RocksStore:
    """The store in `directory`; a new one where there was none, or a damaged or foreign one.

    Raises ConfigurationError where the store is open elsewhere, or the directory can't or must not be used.
    """
    directories.prepare(directory)
    directory = directory.resolve()
    _register(directory)
    try:
        try:
            return RocksStore(directory, topic_id, partition)
        except CacheCorruptFault as fault:
            _empty(directory)
            _logger.warning("emptied the store %s, to be restored from the history: %s", directory, fault)
        return _open_emptied(directory, topic_id, partition)
    except BaseException:
        _unregister(directory)
        raise


def _open_emptied(directory: Path, topic_id: str, partition: int) -> RocksStore:
    try:
        return RocksStore(directory, topic_id, partition)
    except CacheCorruptFault as fault:
        message = f"expected to be able to make a new store in {directory}, but: {fault}"
        raise ConfigurationError(message) from fault


def _empty(directory: Path) -> None:
    # The directory may have been deleted under us.
    directories.prepare(directory)
    with directories.kept_from_others(directory):
        directories.empty(directory)


def _register(directory: Path) -> None:
    with _open_directories_lock:
        if directory in _open_directories:
            raise directories.in_use(directory)
        _open_directories.add(directory)


def _unregister(directory: Path) -> None:
    with _open_directories_lock:
        _open_directories.discard(directory)


def _encode(position: StorePosition, partition: int) -> bytes:
    return msgspec.msgpack.encode(
        _Meta(
            format=FORMAT,
            partition=partition,
            history_topic_id=position.history_topic_id,
            history_position=position.history_position,
            written_at_ms=position.written_at_ms,
            checkpoint=position.checkpoint,
        )
    )


def _decode(data: bytes, partition: int, topic_id: str) -> StorePosition:
    try:
        meta = msgspec.msgpack.decode(data, type=_Meta)
    except msgspec.MsgspecError as error:
        message = f"expected a store's position, but it can't be decoded: {error}"
        raise CacheCorruptFault(message) from error
    expected = (FORMAT, partition, topic_id)
    actual = (meta.format, meta.partition, meta.history_topic_id)
    if actual != expected:
        message = f"expected a store of (format, partition, topic) {expected}, but it is of {actual}"
        raise CacheCorruptFault(message)
    return StorePosition(
        history_topic_id=meta.history_topic_id,
        history_position=meta.history_position,
        written_at_ms=meta.written_at_ms,
        checkpoint=meta.checkpoint,
    )


def _end_of(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`."""
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return META_KEY
    return stem[:-1] + bytes([stem[-1] + 1])


def _checked(action: Callable[[], T]) -> T:
    """Runs `action`; what RocksDB reports becomes a CacheCorruptFault."""
    try:
        return action()
    except Exception as error:
        # rocksdict raises bare `Exception` for all that RocksDB reports; anything more special is a bug of
        # ours.
        if type(error) is not Exception:
            raise
        message = f"RocksDB: {error}"
        raise CacheCorruptFault(message) from error
