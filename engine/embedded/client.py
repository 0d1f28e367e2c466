"""The side of everybody else: publishes commands and reads topics, in the owner's process or another."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from engine.embedded import database as db
from engine.embedded.log import EmbeddedLog, check_record, wall_clock_ms
from engine.embedded.requests import PublishRequest
from engine.partition.ports import Appended, Headers, Record

POLL_INTERVAL_S = 0.003


class EmbeddedClientLog:
    """Any thread may use it. Needs no owner to be running, but one to have made the directory's log."""

    def __init__(
        self, directory: Path, *, owner: EmbeddedLog | None = None, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        """With the `owner` of the same process, waiting costs no polling. Raises ConfigurationError."""
        self._database = db.Database(directory, create=False)
        self._owner = owner
        self._now_ms = now_ms
        self._lock = threading.Lock()
        try:
            self._topics = self._database.topics()
            self._seen = self._change_count()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._database.close()

    def topic_id(self, topic: str) -> str:
        """The id the topic was made with."""
        return self._topics[topic].topic_id

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return self._topics[topic].partitions

    def publish(self, key: bytes, value: bytes, headers: Headers = ()) -> int:
        """Appends a command, durably; returns its offset.

        Raises LogUnavailableFault, LimitExceededError, and ConfigurationError where the log's file has gone.
        """
        check_record(key, value, headers)
        if self._owner is not None:
            published: Future[Appended] = Future()
            self._owner.writer.put(PublishRequest(key, value, headers, published))
            return published.result().offset
        with self._lock, db.as_faults(), self._database.transaction():
            return self._insert_command(key, value, headers)

    def replay(self, letters: Sequence[tuple[int, bytes, bytes]]) -> int:
        """Publishes dead letters, (offset, key, value), once more and marks them, but for those marked.

        Returns how many it published. Raises LogUnavailableFault, and ConfigurationError where the log's file
        has gone.
        """
        # As another process would, also beside the owner: its writer asks where the commands end.
        with self._lock, db.as_faults(), self._database.transaction():
            marked = self._database.noted(db.REPLAYED)
            new = [letter for letter in letters if letter[0] not in marked]
            for offset, key, value in new:
                self._insert_command(key, value, ())
                self._database.set_progress(db.REPLAYED, offset, 0)
            return len(new)

    def replayed(self) -> list[int]:
        """The offsets of the dead letters that were replayed."""
        with self._lock, db.as_faults():
            return sorted(self._database.noted(db.REPLAYED))

    def _insert_command(self, key: bytes, value: bytes, headers: Headers) -> int:
        """Inside a transaction."""
        self._database.check_in_place()
        offset = self._database.end_offset(db.COMMANDS, 0)
        row = (db.place_of(0, offset), self._now_ms(), key, value, db.headers_to_bytes(headers))
        self._database.insert(db.COMMANDS, [row])
        return offset

    def read_topic(self, topic: str, partition: int, start: int, limit: int) -> list[Record]:
        """Up to `limit` records from offset `start`, fewer where they are large; [] at the end."""
        with self._lock, db.as_faults():
            return self._database.read(topic, partition, start, db.OFFSET_MASK, limit)

    def start_offsets(self, topic: str) -> dict[int, int]:
        """By partition, the first offset that was not trimmed."""
        with self._lock, db.as_faults():
            return {
                number: self._database.start_offset(topic, number) for number in range(self.partitions(topic))
            }

    def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition, the offset that the next record will have."""
        with self._lock, db.as_faults():
            return {
                number: self._database.end_offset(topic, number) for number in range(self.partitions(topic))
            }

    def progress(self, topic: str) -> dict[int, int]:
        """By partition, how far the engine is in `commands` or `inbox`; absent where unknown."""
        with self._lock, db.as_faults():
            found = {
                number: self._database.progress(topic, number) for number in range(self.partitions(topic))
            }
        return {number: offset for number, offset in found.items() if offset is not None}

    def wait_for_change(self, timeout_ms: int) -> bool:
        """Whether anything was written since the last call, waiting for it if not."""
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            before, self._seen = self._seen, self._wait(deadline)
            if self._seen != before:
                return True
            if time.monotonic() >= deadline:
                return False

    def _wait(self, deadline: float) -> int:
        remaining = deadline - time.monotonic()
        if self._owner is not None:
            return self._owner.writer.changed.wait(self._seen, max(remaining, 0))
        count = self._change_count()
        if count == self._seen and remaining > 0:
            time.sleep(min(remaining, POLL_INTERVAL_S))
        return count

    def _change_count(self) -> int:
        if self._owner is not None:
            return self._owner.writer.changed.count
        with self._lock, db.as_faults():
            return self._database.data_version()
