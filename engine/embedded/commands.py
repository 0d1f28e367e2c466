"""The ingress's side: reads the commands from the group's position on, and moves that position."""

import time
from collections.abc import Mapping

from engine.embedded import database as db
from engine.embedded.jobs import ProgressJob, TrimJob
from engine.embedded.log import EmbeddedLog
from engine.errors import LogDamagedFault
from engine.partition.ports import Record

# Other processes publish too, and only the file tells of that.
POLL_INTERVAL_S = 0.003
PARTITION = 0


class EmbeddedCommandSource:
    """For one thread. Reads what is not committed again after `rewind` or a restart."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Raises LogDamagedFault where commands behind the committed position are gone."""
        self.topic_id = log.identity.commands_topic_id
        self._writer = log.writer
        self._database = db.Database(log.directory, create=False)
        with db.as_faults():
            committed = self._database.progress(db.COMMANDS, PARTITION)
            start = self._database.start_offset(db.COMMANDS, PARTITION)
        self._committed = start if committed is None else committed
        self._next_offset = self._committed
        if self._committed < start:
            self._database.close()
            message = (
                f"expected the commands to begin at offset {self._committed} or before, but it is {start}"
            )
            raise LogDamagedFault(message)

    @property
    def position(self) -> dict[int, int]:
        """By partition, the first offset that is not committed as read."""
        return {PARTITION: self._committed}

    def poll_commands(self, timeout_ms: int) -> list[Record]:
        """The next commands, [] when none came in time. Raises LogUnavailableFault."""
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            seen = self._writer.commands_changed.count
            with db.as_faults():
                records = self._database.read(db.COMMANDS, PARTITION, self._next_offset, db.OFFSET_MASK)
            if records:
                self._next_offset = records[-1].offset + 1
                return records
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return []
            self._writer.commands_changed.wait(seen, min(remaining, POLL_INTERVAL_S))

    def commit_position(self, position: Mapping[int, int]) -> None:
        """Notes how far was read, in the order of the log's other writes; durable a moment later."""
        offset = position[PARTITION]
        assert self._committed <= offset <= self._next_offset, (
            "a position is of what was read, and only rises"
        )
        self._committed = offset
        self._writer.put(ProgressJob(db.COMMANDS, PARTITION, offset))

    def rewind(self) -> None:
        """Reads again from the committed position."""
        self._next_offset = self._committed

    def trim(self, before_offset: int) -> None:
        """Lets the commands before `before_offset` go; no further than what is committed."""
        self._writer.put(TrimJob(db.COMMANDS, PARTITION, min(before_offset, self._committed)))

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()
