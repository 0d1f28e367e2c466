"""Whole reads of committed history, for questions about one instance or about all. They change nothing."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from engine.client.connection import Connection
from engine.client.fold import Commits, Fold, instance_key_of
from engine.client.requests import milliseconds_of
from engine.client.state import WorkflowState, WorkflowStatus
from engine.codec.topics import partition_of
from engine.errors import InvalidCommandError
from engine.model.state import InstanceState
from engine.partition.ports import Record


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances a list shows: those that all given conditions hold for. Times have a zone."""

    name: str | None = None
    statuses: frozenset[WorkflowStatus] = frozenset()
    prefix: str = ""
    parent: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    def accepts(self, state: InstanceState) -> bool:
        """Whether to show it."""
        parent = None if state.parent is None else state.parent.instance_id
        return (
            self.name in (None, state.workflow)
            and self.parent in (None, parent)
            and (not self.statuses or state.status in self.statuses)
            and (self.created_from is None or state.created_at_ms >= milliseconds_of(self.created_from))
            and (self.created_before is None or state.created_at_ms < milliseconds_of(self.created_before))
        )


def read_commits(connection: Connection, partition: int, start: int = 0) -> Iterator[Record]:
    """The records of whole commits from `start`, which must lie at the end of one."""
    commits = Commits()
    for batch in connection.read_history(partition, start):
        for record in batch:
            yield from commits.add(record)


def fold_instance(connection: Connection, fold: Fold, start: int = 0) -> Fold:
    """Feeds `fold` what is on record of its instance, reading its partition only."""
    key = fold.instance_id.encode()
    for record in read_commits(connection, partition_of(fold.instance_id, connection.partitions), start):
        if instance_key_of(record.key) == key:
            fold.add(record)
    return fold


def list_instances(connection: Connection, wanted: Filter, *, fetch_payloads: bool) -> list[WorkflowState]:
    """All instances that the filter accepts, the newest first. Reads all of history."""
    found: list[WorkflowState] = []
    for partition in range(connection.partitions):
        for fold in _fold_all(connection, partition, wanted.prefix.encode()).values():
            shown = fold.shown(fetch_payloads=fetch_payloads)
            if shown is not None and fold.state is not None and wanted.accepts(fold.state):
                found.append(shown)
    found.sort(key=lambda state: (state.created_at, state.instance_id), reverse=True)
    return found


def filter_of(
    name: str | None, status: "str | WorkflowStatus | Sequence[str | WorkflowStatus] | None", prefix: str
) -> Filter:
    """A filter. Raises InvalidCommandError for a status that does not exist."""
    given = [status] if isinstance(status, str) else list(status or ())
    known = {each.value for each in WorkflowStatus}
    for each in given:
        if each.upper() not in known:
            message = f"expected a status of {', '.join(sorted(known))}, but got {each!r}"
            raise InvalidCommandError(message)
    return Filter(
        name=name, statuses=frozenset(WorkflowStatus(each.upper()) for each in given), prefix=prefix
    )


def _fold_all(connection: Connection, partition: int, prefix: bytes) -> dict[bytes, Fold]:
    folds: dict[bytes, Fold] = {}
    for record in read_commits(connection, partition):
        key = instance_key_of(record.key)
        if record.key[:1] == b"~" or not key.startswith(prefix):
            continue
        fold = folds.get(key)
        if fold is None:
            fold = folds[key] = Fold(key.decode())
        fold.add(record)
    return folds
