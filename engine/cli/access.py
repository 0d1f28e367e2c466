"""What commands ask of an app, whichever way it is reached: over HTTP, or by its log. Verbs know no more."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from engine.client import WorkflowHistoryEvent, WorkflowState
from engine.client.deadletters import LetterFilter, Place
from engine.client.partitions import PartitionStatus
from engine.client.reading import Filter
from engine.client.requests import Request
from engine.gateway.shapes import DeadLetter, DeadLetters
from engine.gateway.waits import Until


class Outcome(StrEnum):
    """What is known of a command that was not refused."""

    # Its owner took it; a later question shows it.
    ACCEPTED = "accepted"
    # It is on record, but no worker took it in time.
    UNDECIDED = "undecided"
    # It is on record. A refusal would be found among the dead letters.
    SENT = "sent"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was sent."""

    instance_id: str
    outcome: Outcome


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started."""

    workflow: str
    payload: Any
    instance_id: str | None
    start_at: datetime | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a list, the newest first, and the mark that goes on behind it; None at its end."""

    states: list[WorkflowState]
    next: str | None


class BulkVerb(StrEnum):
    """What can be done to many instances at once."""

    TERMINATE = "terminate"
    PURGE = "purge"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what is done to many: which were meant, and what became of them; the rest is not known."""

    names: Sequence[str]
    done: int = 0
    refused: int = 0


class Access(Protocol):
    """An app, reached one way. All methods raise UnreachableError where it can't be, one thread uses it."""

    def start(self, start: Start) -> Sent:
        """Asks for a run. Raises InvalidCommandError, RefusedError."""
        ...

    def send(self, request: Request) -> Sent:
        """Sends a command. Raises InstanceNotFoundError, RefusedError."""
        ...

    def find(self, instance_id: str) -> WorkflowState | None:
        """The instance as it is committed now, None where there is none."""
        ...

    def history(self, instance_id: str) -> list[WorkflowHistoryEvent]:
        """The events of its newest run. Raises InstanceNotFoundError."""
        ...

    def wait(self, instance_id: str, until: Until, timeout_s: float) -> WorkflowState:
        """The instance as soon as it has started, or is over. Raises TimeoutError."""
        ...

    def follow(self, instance_id: str) -> Iterator[WorkflowHistoryEvent]:
        """The events of its newest run, and those to come, run after run. Never ends by itself."""
        ...

    def instances(self, wanted: Filter, limit: int, after: str | None) -> Page:
        """A page of the instances that a filter means."""
        ...

    def changes(self) -> Iterator[None]:
        """Something at once when it listens, and when instances may have changed. Never ends.

        A thread of its own may go through it.
        """
        ...

    def bulk(self, verb: BulkVerb, wanted: Filter, *, is_dry_run: bool) -> Iterator[Round]:
        """Does it to all that the filter means and that it can be done to, part by part as it is asked."""
        ...

    def dead_letters(self, wanted: LetterFilter, limit: int) -> DeadLetters:
        """The newest that are meant, with the beginnings of their values; and how many there are in all."""
        ...

    def dead_letter(self, place: Place) -> DeadLetter:
        """The one at a place. Raises InstanceNotFoundError."""
        ...

    def replayable(self, wanted: LetterFilter) -> list[Place]:
        """Those that are meant and were not replayed yet."""
        ...

    def replay(self, places: Sequence[Place], size: int) -> Iterator[Round]:
        """Publishes them once more, but for those that were meanwhile; `size` at a time, as it is asked."""
        ...

    def partitions(self) -> list[PartitionStatus]:
        """Who owns what, and what waits."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...
