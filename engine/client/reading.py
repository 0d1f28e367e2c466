"""Whole reads of committed history, for questions about one instance or about all. They change nothing."""

from collections.abc import Iterator, Sequence

import msgspec

from engine.client.connection import Connection
from engine.client.fold import Commits, Fold, instance_key_of
from engine.client.state import WorkflowState, WorkflowStatus
from engine.codec.topics import partition_of
from engine.errors import InvalidCommandError
from engine.partition.ports import Record


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances a list shows."""

    name: str | None = None
    statuses: frozenset[WorkflowStatus] = frozenset()
    prefix: str = ""

    def accepts(self, state: WorkflowState) -> bool:
        """Whether to show it."""
        if self.name is not None and state.name != self.name:
            return False
        return not self.statuses or state.runtime_status in self.statuses


class DeadLetterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was refused, and why.

    Attributes:
        partition: Of the dead letter.
        offset: Of the dead letter.
        refused_at_ms: When it was refused, UTC.
        reason: One of the reasons of `engine.model.effects.Reason`.
        detail: The reason in words.
        source: Where the refused record was: topic, partition and offset.
        key: Its key, usually the instance id.
        value: Its bytes, unchanged.

    """

    partition: int
    offset: int
    refused_at_ms: int
    reason: str
    detail: str
    source: str
    key: bytes
    value: bytes


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
            state = fold.shown(fetch_payloads=fetch_payloads)
            if state is not None and wanted.accepts(state):
                found.append(state)
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


def read_dead_letters(connection: Connection) -> Iterator[DeadLetterEntry]:
    """All dead letters that are still kept, partition by partition, the oldest first."""
    for batch in connection.read_dead_letters():
        for record in batch:
            yield _dead_letter_of(record)


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


def _dead_letter_of(record: Record) -> DeadLetterEntry:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    place = (headers.get(name, "?") for name in ("source.topic", "source.partition", "source.offset"))
    at = headers.get("refused_at_ms", "")
    return DeadLetterEntry(
        partition=record.partition,
        offset=record.offset,
        refused_at_ms=int(at) if at.isdigit() else record.timestamp_ms,
        reason=headers.get("reason", "unknown"),
        detail=headers.get("detail", ""),
        source="/".join(place),
        key=record.key,
        value=record.value or b"",
    )
