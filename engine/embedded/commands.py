"""The ingress's side: reads the commands from the group's position on, and moves that position."""

import time

from engine.embedded import database as db
from engine.embedded.log import EmbeddedLog
from engine.embedded.requests import ProgressRequest, TrimRequest
from engine.errors import LogDamagedFault
from engine.partition.ports import Record

# Other processes publish too, and only the file tells of that.
POLL_INTERVAL_S = 0.003
PARTITION = 0


class EmbeddedCommandSource:
    """Implements `CommandSource`, for one thread. `commands` has one partition here, always ours."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Raises LogDamagedFault where commands behind the group's position are gone."""
        self.topic_id = log.identity.commands_topic_id
        self._writer = log.writer
        self._session = 1
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
        """By partition, the group's position: where a restart begins."""
        return {PARTITION: self._committed}

    @property
    def is_beginning(self) -> bool:
        """Never: it is known at once."""
        return False

    def assignment(self) -> dict[int, int]:
        """The one partition, with a number that a restart changes."""
        return {PARTITION: self._session}

    def poll(self, timeout_ms: int) -> list[Record]:
        """Further commands, [] when none came in time. Raises LogUnavailableFault."""
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

    def commit(self, positions: dict[int, int]) -> None:
        """Everything before these offsets is in the inbox, and is deleted. Durable a moment later."""
        for partition, offset in positions.items():
            assert partition == PARTITION, f"there is no partition {partition} of commands"
            assert self._committed <= offset <= self._next_offset, (
                "a position is of what was read, and only rises"
            )
            self._committed = offset
            # In this order: what is deleted must be noted as read.
            self._writer.put(ProgressRequest(db.COMMANDS, PARTITION, offset))
            self._writer.put(TrimRequest(db.COMMANDS, PARTITION, offset))

    def restart(self) -> None:
        """Reads again from the group's position."""
        self._next_offset = self._committed
        self._session += 1

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()
