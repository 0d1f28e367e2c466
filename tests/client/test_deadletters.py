"""Dead letters are replayed each at most once, whoever is killed in the middle or replays beside it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from engine.client import UnreachableError, WorkflowClient
from engine.client.connection import Connection
from engine.client.deadletters import (
    MARK_KEY,
    DeadLetterEntry,
    LetterFilter,
    mark_headers,
    newest_of,
    parse_place,
    read_dead_letters,
    replayable,
)
from engine.client.opening import open_embedded, open_kafka
from engine.errors import InvalidCommandError
from tests.client.running import Place, eventually


@pytest.fixture
def connection(place: Place) -> Iterator[Connection]:
    if place.name == "kafka":
        _, servers, _, app = place.arguments
        opened = open_kafka(servers, app, "wf", None)
    else:
        opened = open_embedded(place.arguments[1])
    with closing(opened):
        yield opened


def letters_of(connection: Connection, key: str) -> list[DeadLetterEntry]:
    return [each for each in read_dead_letters(connection) if each.key == key.encode()]


def refused(client: WorkflowClient, connection: Connection) -> tuple[str, list[DeadLetterEntry]]:
    """An event for an instance that nobody knows, and its dead letter."""
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    client.raise_workflow_event(nobody, "x")
    return nobody, eventually(lambda: letters_of(connection, nobody), lambda found: len(found) == 1)


def test_what_is_replayed_is_marked_and_left_out_the_next_time(
    client: WorkflowClient, connection: Connection
):
    nobody, letters = refused(client, connection)
    wanted = LetterFilter(places=frozenset({parse_place(letters[0].place)}))
    assert [each.key for each in replayable(connection, wanted)] == [nobody.encode()]
    with closing(connection.open_replayer()) as replayer:
        assert replayer.replay(letters) == 1
    # A commit is answered before it is seen.
    eventually(lambda: list(replayable(connection, wanted)), lambda found: not found)
    # It is refused again: that is another letter.
    found = eventually(lambda: letters_of(connection, nobody), lambda found: len(found) == 2)
    assert [each.is_replayed for each in found] == [True, False]
    assert found[0].value == found[1].value
    assert found[0].source != found[1].source


def test_a_replay_that_was_killed_half_way_is_ended_and_done_again(kafka_place: Place):
    _, servers, _, app = kafka_place.arguments
    with kafka_place.open() as client, closing(open_kafka(servers, app, "wf", None)) as connection:
        nobody, letters = refused(client, connection)
        killed = connection.open_replayer()
        # As far as it gets before its commit: both records are written.
        killed._producer.begin_transaction()
        killed._producer.produce(f"wf.{app}.commands", letters[0].value, letters[0].key)
        mark = list(mark_headers(letters[0].offset))
        killed._producer.produce(f"wf.{app}.deadletter", None, MARK_KEY, letters[0].partition, headers=mark)
        killed._producer.flush(20)
        with closing(connection.open_replayer()) as next_one:
            assert [each.is_replayed for each in letters_of(connection, nobody)] == [False]
            assert next_one.replay(letters) == 1
        with pytest.raises(UnreachableError, match="replay again, and what was is left out"):
            killed.replay(letters)
        found = eventually(lambda: letters_of(connection, nobody), lambda found: len(found) == 2)
        assert [each.is_replayed for each in found] == [True, False]


def test_of_many_who_replay_a_letter_one_does(directory_place: Place):
    with directory_place.open() as client, closing(open_embedded(directory_place.arguments[1])) as connection:
        _, letters = refused(client, connection)
        counts: list[int] = []

        def replay() -> None:
            with closing(open_embedded(directory_place.arguments[1])) as own:
                counts.append(own.open_replayer().replay(letters))

        threads = [threading.Thread(target=replay) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(counts) == [0, 0, 0, 1]


@pytest.mark.parametrize("text", ["", "0", "0/", "/1", "-1/2", "0/1/2", "x/1", "0/1 "])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(InvalidCommandError, match="expected PARTITION/OFFSET"):
        parse_place(text)


def test_of_many_letters_the_newest_are_kept():
    letters = [
        DeadLetterEntry(
            partition=0,
            offset=offset,
            refused_at_ms=at,
            reason="Malformed",
            detail="",
            source="commands/0/0",
            key=b"k",
            value=b"v",
        )
        for offset, at in enumerate([5, 9, 1, 7])
    ]
    newest, total = newest_of(iter(letters), 2)
    assert ([each.refused_at_ms for each in newest], total) == ([9, 7], 4)
    assert newest_of(iter(()), 2) == ([], 0)
