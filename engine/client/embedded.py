"""A client's connection to an embedded log: the same directory, from this process or another."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.client.connection import OnPublished
from engine.client.errors import CLOSED, UnreachableError, faults_made_public
from engine.embedded.client import EmbeddedClientLog
from engine.embedded.log import EmbeddedLog
from engine.errors import PublicError
from engine.partition.ports import Record

HISTORY = "history"
DEADLETTER = "deadletter"
READ_RECORDS = 2_000


class EmbeddedConnection:
    """Implements `Connection`."""

    def __init__(self, directory: Path, *, owner: EmbeddedLog | None = None) -> None:
        """With the `owner` of the same process, waiting costs no polling. Raises ConfigurationError."""
        self._directory = directory
        self._owner = owner
        self._log = EmbeddedClientLog(directory, owner=owner)
        # One thread: it keeps the order of publishing, and no event loop waits for a disk.
        self._publishing = ThreadPoolExecutor(1, "client-publish")

    @property
    def partitions(self) -> int:
        """See the port."""
        return self._log.partitions(HISTORY)

    def publish(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        """See the port."""
        try:
            self._publishing.submit(self._publish, key, value, on_done)
        except RuntimeError:
            # What an executor says that was shut down.
            on_done(UnreachableError(CLOSED))

    def ends(self) -> dict[int, int]:
        """See the port."""
        with faults_made_public():
            return self._log.end_offsets(HISTORY)

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        """See the port."""
        return self._read(HISTORY, partition, start)

    def open_tail(self) -> "EmbeddedTail":
        """See the port."""
        return EmbeddedTail(EmbeddedClientLog(self._directory, owner=self._owner))

    def read_dead_letters(self) -> Iterator[list[Record]]:
        """See the port."""
        for partition in range(self._log.partitions(DEADLETTER)):
            yield from self._read(DEADLETTER, partition, 0)

    def close(self) -> None:
        """See the port."""
        self._publishing.shutdown()
        self._log.close()

    def _publish(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        try:
            with faults_made_public():
                self._log.publish(key, value)
        except PublicError as problem:
            on_done(problem)
        else:
            on_done(None)

    def _read(self, topic: str, partition: int, start: int) -> Iterator[list[Record]]:
        with faults_made_public():
            end = self._log.end_offsets(topic)[partition]
            while start < end:
                found = self._log.read_topic(topic, partition, start, READ_RECORDS)
                records = [record for record in found if record.offset < end]
                if not records:
                    return
                yield records
                start = records[-1].offset + 1


class EmbeddedTail:
    """Implements `HistoryTail`."""

    def __init__(self, log: EmbeddedClientLog) -> None:
        self._log = log
        self._positions: dict[int, int] = {}

    def follow(self, positions: dict[int, int]) -> None:
        """See the port."""
        self._positions |= positions

    def poll(self, timeout_ms: int) -> list[Record]:
        """See the port."""
        records = self._read()
        if not records and self._log.wait_for_change(timeout_ms):
            records = self._read()
        return records

    def close(self) -> None:
        """See the port."""
        self._log.close()

    def _read(self) -> list[Record]:
        records: list[Record] = []
        for partition, position in self._positions.items():
            found = self._log.read_topic(HISTORY, partition, position, READ_RECORDS)
            if found:
                self._positions[partition] = found[-1].offset + 1
                records += found
        return records
