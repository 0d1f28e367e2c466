"""The read model is disposable: whatever becomes of its file or of the topic, it shows what is committed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.codec.topics import partition_of
from engine.model import events as ev
from engine.projection import Filter, Order, Projection, Reader
from engine.projection import database as database_module
from engine.projection.fold import Folder
from tests.client.running import eventually
from tests.projection.conftest import caught_up, running
from tests.projection.made_log import PARTITIONS, MadeLog

STARTED = ev.InstanceStarted(workflow="order")
COMPLETED = ev.InstanceCompleted()


def fill(log: MadeLog, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        name = f"a{number}"
        log.commit((name, "r1", 1, STARTED), (name, "r1", 2, ev.CustomStatusSet(status=f"s{number}")))
        if number % 3 == 0:
            log.commit((name, "r1", 3, COMPLETED))
        if number % 9 == 0:
            log.commit((name, "r1", 1, None), (name, "r1", 2, None), (name, "r1", 3, None))


def content(reader: Reader) -> tuple[object, ...]:
    """All that a reader is ever shown."""
    with closing(reader):
        rows = list(reader.pages(Filter()))
        events = {row.instance_id: reader.values(row.instance_id, row.partition)[1] for row in rows}
        newest = reader.page(Filter(), order=Order.NEWEST_FIRST, limit=1_000)
        return rows, events, reader.counts(), newest


def test_a_file_that_was_deleted_is_built_again_and_equal(log: MadeLog, path: Path):
    fill(log, 50)
    with running(log, path) as projection:
        # In small steps, as it came; the second time all at once.
        for first in range(50, 100):
            fill(log, 1, first)
            caught_up(projection, log).close()
        before = content(caught_up(projection, log))
    database_module.remove(path)
    with running(log, path) as projection:
        assert content(caught_up(projection, log)) == before
        assert projection.progress.is_rebuild


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_goes_while_it_is_in_use_is_built_again(log: MadeLog, path: Path, *, is_replaced: bool):
    fill(log, 50)
    with running(log, path) as projection:
        before = content(caught_up(projection, log))
        generation = projection.generation
        database_module.remove(path)
        if is_replaced:
            path.write_bytes(b"of somebody else")
        eventually(lambda: projection.generation, lambda found: found > generation)
        assert content(caught_up(projection, log)) == before
        fill(log, 1, 50)
        assert content(caught_up(projection, log)) != before


def test_a_restart_goes_on_where_the_file_ends(log: MadeLog, path: Path):
    fill(log, 20)
    with running(log, path) as projection:
        caught_up(projection, log).close()
    ends = log.ends()
    fill(log, 20, first=20)
    with running(log, path) as projection:
        reader = caught_up(projection, log)
        assert not projection.progress.is_rebuild
        assert log.followed[-1] == ends
        assert content(reader) == content(rebuilt(log, path.with_name("other.sqlite3")))


def rebuilt(log: MadeLog, path: Path) -> Reader:
    with running(log, path) as projection:
        return caught_up(projection, log)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(log: MadeLog, path: Path):
    fill(log, 10)
    with running(log, path) as projection:
        caught_up(projection, log).close()
    log.make_anew("topic-2")
    log.commit(("other", "r1", 1, STARTED))
    with running(log, path) as projection, closing(caught_up(projection, log)) as reader:
        assert [row.instance_id for row in reader.page(Filter()).rows] == ["other"]


def test_a_topic_that_is_made_anew_meanwhile_is_noticed(log: MadeLog, path: Path):
    fill(log, 10)
    with running(log, path) as projection:
        caught_up(projection, log).close()
        log.make_anew("topic-2")
        log.commit(("other", "r1", 1, STARTED))
        with closing(projection.open_reader()) as reader:
            eventually(lambda: [row.instance_id for row in reader.page(Filter()).rows], ["other"].__eq__)


def test_a_topic_that_lost_its_end_is_read_from_its_beginning(log: MadeLog, path: Path):
    fill(log, 10)
    with running(log, path) as projection:
        caught_up(projection, log).close()
    log.make_anew(log.history_id)
    log.commit(("other", "r1", 1, STARTED))
    with running(log, path) as projection, closing(caught_up(projection, log)) as reader:
        assert [row.instance_id for row in reader.page(Filter()).rows] == ["other"]


def test_a_file_of_another_schema_is_emptied(log: MadeLog, path: Path):
    fill(log, 10)
    older = database_module.Source(history_topic_id="topic-1", partitions=(0, 1, 2), schema_version=0)
    with closing(database_module.Database(path)) as database:
        database.prepare(older)
    with running(log, path) as projection:
        assert projection.progress.is_rebuild
        assert caught_up(projection, log).find("a1") is not None


@pytest.mark.parametrize(
    "rubbish", [b"no database at all, but long enough to be read", b"SQLite format 3\0" * 300]
)
def test_a_damaged_file_is_replaced(log: MadeLog, path: Path, rubbish: bytes):
    fill(log, 10)
    path.parent.mkdir(parents=True)
    path.write_bytes(rubbish)
    with running(log, path) as projection, closing(caught_up(projection, log)) as reader:
        assert reader.find("a1") is not None


def test_a_kafka_that_is_down_is_waited_for(log: MadeLog, path: Path):
    with running(log, path) as projection:
        caught_up(projection, log).close()
        log.is_down = True
        fill(log, 5)
        log.is_down = False
        with closing(caught_up(projection, log)) as reader:
            assert reader.find("a1") is not None


def test_it_can_be_split_by_partition(log: MadeLog, path: Path):
    fill(log, 60)
    parts = []
    for number in range(PARTITIONS):
        with running(log, path.with_name(f"part-{number}.sqlite3"), partitions=[number]) as projection:
            with closing(caught_up(projection, log)) as reader:
                rows = list(reader.pages(Filter()))
            assert {partition_of(row.instance_id, PARTITIONS) for row in rows} == {number}
            parts += rows
    with closing(rebuilt(log, path)) as reader:
        assert sorted(parts, key=lambda row: row.instance_id) == list(reader.pages(Filter()))


def test_a_bug_of_ours_is_told_and_ends_it(log: MadeLog, path: Path, caplog):
    projection = Projection(log, path)
    projection.start()
    log.commit(("a", "r1", 1, COMPLETED))  # no run begins like this
    projection._thread.join(20)
    assert isinstance(projection.failure, AssertionError)
    assert "stands still" in caplog.text
    projection.close()


def test_a_damage_that_shows_while_it_runs_means_another_file(log: MadeLog, path: Path, monkeypatch):
    fill(log, 10)
    with running(log, path) as projection:
        caught_up(projection, log).close()
        with monkeypatch.context() as patched:
            patched.setattr(Folder, "write", damaged)
            fill(log, 10, first=10)
            assert eventually(lambda: projection.generation, bool)
        with closing(caught_up(projection, log)) as reader:
            assert reader.find("a11") is not None
            assert reader.find("a1") is not None


def damaged(folder: Folder, positions: object) -> None:
    message = "database disk image is malformed"
    raise sqlite3.DatabaseError(message)
