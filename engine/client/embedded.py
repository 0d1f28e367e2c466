"""A client's connection to an embedded log: the same directory, from this process or another."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from engine.client.connection import OnPublished, Ownership, TopicIds
from engine.client.deadletters import DeadLetterEntry, mark_of
from engine.client.errors import CLOSED, UnreachableError, faults_made_public
from engine.codec.topics import CHECKPOINT_KEY
from engine.embedded.client import EmbeddedClientLog
from engine.embedded.log import EmbeddedLog
from engine.errors import PublicError
from engine.ownership import holder_of
from engine.partition.ports import Headers, Record

COMMANDS = "commands"
INBOX = "inbox"
HISTORY = "history"
DEADLETTER = "deadletter"
REPLIES = "replies"
READ_RECORDS = 2_000


class EmbeddedConnection:
    """Implements `Connection`."""

    def __init__(self, directory: Path, *, owner: EmbeddedLog | None = None) -> None:
        """With the `owner` of the same process, waiting costs no polling. Raises ConfigurationError."""
        self._directory = directory
        self._owner = owner
        with faults_made_public():
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
            self._publishing.submit(self._publish_and_tell, key, value, on_done)
        except RuntimeError:
            # What an executor says that was shut down.
            on_done(UnreachableError(CLOSED))

    def publish_lone(self, key: bytes, value: bytes, headers: Headers) -> "Future[None]":
        """See the port."""
        try:
            return self._publishing.submit(self._publish, key, value, headers)
        except RuntimeError:
            refused: Future[None] = Future()
            refused.set_exception(UnreachableError(CLOSED))
            return refused

    def topic_ids(self) -> TopicIds:
        """See the port."""
        return TopicIds(commands=self._log.topic_id(COMMANDS), history=self._log.topic_id(HISTORY))

    def ends(self) -> dict[int, int]:
        """See the port."""
        with faults_made_public():
            return self._log.end_offsets(HISTORY)

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        """See the port."""
        return self._read(HISTORY, partition, start)

    def open_tail(self) -> "EmbeddedTail":
        """See the port."""
        return EmbeddedTail(EmbeddedClientLog(self._directory, owner=self._owner), HISTORY)

    def read_dead_letters(self) -> Iterator[list[Record]]:
        """See the port."""
        for partition in range(self._log.partitions(DEADLETTER)):
            yield from self._read(DEADLETTER, partition, 0)
        with faults_made_public():
            yield [mark_of(0, offset) for offset in self._log.replayed()]

    def open_replayer(self) -> "EmbeddedReplayer":
        """See the port."""
        return EmbeddedReplayer(self._log)

    def ownership(self) -> dict[int, Ownership]:
        """See the port."""
        holder = holder_of(self._directory)
        with faults_made_public():
            starts, ends = self._log.start_offsets(INBOX), self._log.end_offsets(INBOX)
        return {
            number: Ownership(
                owner=None if holder is None else f"process {holder}",
                inbox_start=starts[number],
                inbox_end=end,
            )
            for number, end in ends.items()
        }

    def reply_ends(self, requester: str) -> dict[int, int]:
        """See the port. Here there is but one partition."""
        with faults_made_public():
            return self._log.end_offsets(REPLIES)

    def open_reply_tail(self) -> "EmbeddedTail":
        """See the port."""
        return EmbeddedTail(EmbeddedClientLog(self._directory, owner=self._owner), REPLIES)

    def close(self) -> None:
        """See the port."""
        self._publishing.shutdown()
        self._log.close()

    def _publish(self, key: bytes, value: bytes, headers: Headers) -> None:
        with faults_made_public():
            self._log.publish(key, value, headers)

    def _publish_and_tell(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        try:
            self._publish(key, value, ())
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


class EmbeddedReplayer:
    """Implements `Replayer`: SQLite lets one write at a time."""

    def __init__(self, log: EmbeddedClientLog) -> None:
        self._log = log

    def replay(self, letters: Sequence[DeadLetterEntry]) -> int:
        """See the port."""
        with faults_made_public():
            return self._log.replay([(letter.offset, letter.key, letter.value) for letter in letters])

    def close(self) -> None:
        """See the port. The log is the connection's."""


class EmbeddedTail:
    """Implements `Tail`."""

    # A file is there, or raises.
    is_down = False

    def __init__(self, log: EmbeddedClientLog, topic: str) -> None:
        self._log = log
        self._topic = topic
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

    def positions(self) -> dict[int, int]:
        """See the port."""
        return dict(self._positions)

    def close(self) -> None:
        """See the port."""
        self._log.close()

    def _read(self) -> list[Record]:
        records: list[Record] = []
        for partition, position in self._positions.items():
            found = self._log.read_topic(self._topic, partition, position, READ_RECORDS)
            if found:
                self._positions[partition] = _behind(found[-1])
                records += found
        return records


def _behind(record: Record) -> int:
    """The offset behind a record, and behind the marker that each commit of history ends with."""
    return record.offset + (2 if record.key == CHECKPOINT_KEY else 1)
