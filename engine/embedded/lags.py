"""Reads where the embedded topics end and how far the ingress is, by a connection of its own."""

from collections.abc import Iterable
from pathlib import Path

from engine.embedded import database as db
from engine.partition.ports import CommandsEnd, Ends


class EmbeddedLags:
    """Implements `LagSource`. There are no open transactions here: what can be read is stable."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._database: db.Database | None = None

    def read(self, commands: Iterable[int], inbox: Iterable[int]) -> Ends:
        """See the port."""
        with db.as_faults():
            if self._database is None:
                # Opened by the thread that reads: a connection is its thread's.
                self._database = db.Database(self._directory, create=False)
            database = self._database
            found = {}
            for partition in commands:
                end = database.end_offset(db.COMMANDS, partition)
                done = database.progress(db.COMMANDS, partition)
                start = database.start_offset(db.COMMANDS, partition)
                found[partition] = CommandsEnd(start if done is None else done, end, end)
            return Ends(found, {each: database.end_offset(db.INBOX, each) for each in inbox})
