"""An app reached by its log, on Kafka or in a directory: what commands ask, read from what is committed.

It needs no gateway, and asks none: each question reads what it is about, a list all of history.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import TypeVar

from engine.cli.access import BulkVerb, Outcome, Page, Round, Sent, Start
from engine.client import WorkflowClient, WorkflowHistoryEvent, WorkflowState, reading, requests
from engine.client.connection import Connection
from engine.client.deadletters import (
    LetterFilter,
    Place,
    find_dead_letter,
    no_dead_letter,
    replayable,
)
from engine.client.errors import faults_made_public
from engine.client.fold import Commits, Fold, instance_key_of
from engine.client.partitions import PartitionStatus, live_by_partition, read_partitions
from engine.client.reading import Filter
from engine.client.requests import Request, milliseconds_of
from engine.codec.topics import partition_of
from engine.gateway.operators import list_letters
from engine.gateway.shapes import DeadLetter, DeadLetters, dead_letter_of
from engine.gateway.waits import Until
from engine.partition.ports import Record
from engine.projection import decode_mark, encode_mark

T = TypeVar("T")

ROUND_INSTANCES = 100
POLL_MS = 200
# A list is read anew from all of history: not at every change.
CHANGES_S = 2.0


class LogAccess:
    """Implements `Access`."""

    def __init__(self, connection: Connection) -> None:
        """Takes over the connection."""
        self._connection = connection
        self._client = WorkflowClient(connection)

    # --- commands ---

    def start(self, start: Start) -> Sent:
        """See the protocol."""
        instance_id = self._client.schedule_new_workflow(
            start.workflow, input=start.payload, instance_id=start.instance_id, start_at=start.start_at
        )
        return Sent(instance_id=instance_id, outcome=Outcome.SENT)

    def send(self, request: Request) -> Sent:
        """See the protocol."""
        self._client.send(request)
        return Sent(instance_id=request.instance_id, outcome=Outcome.SENT)

    # --- one instance ---

    def find(self, instance_id: str) -> WorkflowState | None:
        """See the protocol."""
        return self._client.get_workflow_state(instance_id)

    def history(self, instance_id: str) -> list[WorkflowHistoryEvent]:
        """See the protocol."""
        return self._client.get_workflow_history(instance_id)

    def wait(self, instance_id: str, until: Until, timeout_s: float) -> WorkflowState:
        """See the protocol."""
        if until is Until.STARTED:
            return self._client.wait_for_workflow_start(instance_id, timeout_in_seconds=timeout_s)
        return self._client.wait_for_workflow_completion(instance_id, timeout_in_seconds=timeout_s)

    def follow(self, instance_id: str) -> Iterator[WorkflowHistoryEvent]:
        """See the protocol. What both the read and the tail bring is told once."""
        partition = partition_of(instance_id, self._connection.partitions)
        following = _Following(instance_id)
        with closing(self._connection.open_tail()) as tail, faults_made_public():
            tail.follow({partition: self._connection.ends()[partition]})
            reading.fold_instance(self._connection, following.fold)
            yield from following.untold()
            while True:
                for record in tail.poll(POLL_MS):
                    yield from following.take(record)

    # --- many ---

    def instances(self, wanted: Filter, limit: int, after: str | None) -> Page:
        """See the protocol."""
        found = reading.list_instances(self._connection, wanted, fetch_payloads=False)
        if after is not None:
            mark = decode_mark(after)
            place = (mark.created_at_ms, mark.instance_id)
            found = [each for each in found if (milliseconds_of(each.created_at), each.instance_id) < place]
        if len(found) <= limit:
            return Page(states=found, next=None)
        last = found[limit - 1]
        mark_text = encode_mark(milliseconds_of(last.created_at), last.instance_id)
        return Page(states=found[:limit], next=mark_text)

    def changes(self) -> Iterator[None]:
        """See the protocol."""
        with closing(self._connection.open_tail()) as tail, faults_made_public():
            tail.follow(self._connection.ends())
            yield None
            while True:
                if tail.poll(POLL_MS):
                    yield None
                    time.sleep(CHANGES_S)

    def bulk(self, verb: BulkVerb, wanted: Filter, *, is_dry_run: bool) -> Iterator[Round]:
        """See the protocol."""
        listed = reading.list_instances(self._connection, wanted, fetch_payloads=False)
        ids = sorted(each.instance_id for each in listed if each.is_finished is (verb is BulkVerb.PURGE))
        for some in _batches(ids, ROUND_INSTANCES):
            if not is_dry_run:
                for instance_id in some:
                    self._client.send(_request_of(verb, instance_id))
            yield Round(names=some, done=0 if is_dry_run else len(some))

    # --- for operators ---

    def dead_letters(self, wanted: LetterFilter, limit: int) -> DeadLetters:
        """See the protocol."""
        return list_letters(self._connection, wanted, limit)

    def dead_letter(self, place: Place) -> DeadLetter:
        """See the protocol."""
        found = find_dead_letter(self._connection, place)
        if found is None:
            raise no_dead_letter(place)
        return dead_letter_of(found)

    def replayable(self, wanted: LetterFilter) -> list[Place]:
        """See the protocol."""
        return [(each.partition, each.offset) for each in replayable(self._connection, wanted)]

    def replay(self, places: Sequence[Place], size: int) -> Iterator[Round]:
        """See the protocol."""
        with closing(self._connection.open_replayer()) as replayer:
            wanted = LetterFilter(places=frozenset(places))
            for some in _batches(replayable(self._connection, wanted), size):
                names = [letter.place for letter in some]
                yield Round(names=names, done=replayer.replay(some))

    def partitions(self) -> list[PartitionStatus]:
        """See the protocol."""
        states = reading.list_instances(self._connection, Filter(), fetch_payloads=False)
        return read_partitions(self._connection, live_by_partition(states, self._connection.partitions))

    def close(self) -> None:
        """See the protocol."""
        self._client.close()


class _Following:
    """One instance as it goes on, and what was told of it."""

    def __init__(self, instance_id: str) -> None:
        self.fold = Fold(instance_id, keeps_events=True)
        self._key = instance_id.encode()
        self._commits = Commits()
        self._run_id = ""
        self._count = 0

    def take(self, record: Record) -> Iterator[WorkflowHistoryEvent]:
        """One more record of the partition: the events that it completes a commit of."""
        for each in self._commits.add(record):
            if instance_key_of(each.key) == self._key:
                self.fold.add(each)
                # At once: the first event of the next run takes the place of this one's.
                yield from self.untold()

    def untold(self) -> list[WorkflowHistoryEvent]:
        """Events that were not told yet."""
        events = self.fold.events
        if events and events[0].run_id != self._run_id:
            self._run_id, self._count = events[0].run_id, 0
        untold = events[self._count :]
        self._count = max(self._count, len(events))
        return untold


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while some := list(islice(remaining, size)):
        yield some


def _request_of(verb: BulkVerb, instance_id: str) -> Request:
    if verb is BulkVerb.TERMINATE:
        return requests.terminate(instance_id, None, recursive=True)
    return requests.purge(instance_id, recursive=True, force=False)
