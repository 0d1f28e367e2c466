"""One suite for every `Store`. What only RocksDB can suffer is in `test_store_damage.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.partition.ports import Store, StorePosition
from engine.store.memory import MemoryStore
from engine.store.rocks import open_store

TOPIC_ID = "topic-1"


def position(offset: int) -> StorePosition:
    """Where the store stands after the write number `offset`."""
    return StorePosition(
        history_topic_id=TOPIC_ID,
        history_position=offset,
        written_at_ms=1000 + offset,
        checkpoint=b"c%d" % offset,
    )


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store of each kind."""
    made: Store = MemoryStore() if request.param == "memory" else open_store(tmp_path / "s", TOPIC_ID, 0)
    yield made
    made.close()


def test_a_new_store_has_neither_position_nor_keys(store: Store) -> None:
    assert store.position() is None
    assert store.get_many([b"a"]) == [None]
    assert list(store.scan(b"")) == []


def test_it_takes_room_when_it_holds_something(store: Store) -> None:
    store.write([(b"a", b"1" * 100)], [], position(1))
    assert store.size_bytes() > 0


def test_what_was_written_is_read_in_the_order_it_was_asked_for(store: Store) -> None:
    store.write([(b"a", b"1"), (b"b", b""), (b"c", b"3")], [], position(1))

    assert store.get_many([b"c", b"x", b"a", b"b", b"a"]) == [b"3", None, b"1", b"", b"1"]
    assert store.get_many([]) == []


def test_the_position_is_that_of_the_last_write(store: Store) -> None:
    store.write([(b"a", b"1")], [], position(1))
    store.write([], [], position(2))

    assert store.position() == position(2)


def test_a_value_may_be_replaced_and_deleted_and_written_again(store: Store) -> None:
    store.write([(b"a", b"1"), (b"b", b"1")], [], position(1))
    store.write([(b"a", b"2")], [b"b", b"never there"], position(2))
    assert store.get_many([b"a", b"b"]) == [b"2", None]

    store.write([(b"b", b"3")], [], position(3))
    assert list(store.scan(b"")) == [(b"a", b"2"), (b"b", b"3")]


def test_the_last_of_two_puts_of_a_key_counts_and_a_delete_beats_a_put(store: Store) -> None:
    store.write([(b"a", b"1"), (b"a", b"2"), (b"b", b"1")], [b"b"], position(1))

    assert list(store.scan(b"")) == [(b"a", b"2")]


def test_a_scan_gives_exactly_the_keys_of_its_prefix_in_order(store: Store) -> None:
    keys = [b"h|b|2", b"h|a|1", b"h|b|1", b"h|b\xff", b"h|c|1", b"h", b"i", b"\xff", b"\xfe\xff"]
    store.write([(key, b"v" + key) for key in keys], [], position(1))

    assert [key for key, _ in store.scan(b"h|b")] == [b"h|b|1", b"h|b|2", b"h|b\xff"]
    assert [key for key, _ in store.scan(b"\xff")] == [b"\xff"]
    assert [key for key, _ in store.scan(b"\xfe\xff")] == [b"\xfe\xff"]
    assert list(store.scan(b"")) == [(key, b"v" + key) for key in sorted(keys)]


def test_a_scan_shows_the_moment_it_began(store: Store) -> None:
    store.write([(b"a", b"1"), (b"b", b"1")], [], position(1))
    scan = store.scan(b"")
    assert next(scan) == (b"a", b"1")

    store.write([(b"b", b"2"), (b"c", b"2")], [b"a"], position(2))

    assert list(scan) == [(b"b", b"1")]


def test_wiping_empties_it_and_it_can_be_written_again(store: Store) -> None:
    store.write([(b"a", b"1")], [], position(1))
    store.wipe()
    assert (store.position(), list(store.scan(b""))) == (None, [])

    store.write([(b"b", b"2")], [], position(2))
    assert (store.position(), list(store.scan(b""))) == (position(2), [(b"b", b"2")])


KEYS = st.binary(min_size=1, max_size=3).filter(lambda key: key < b"\xff\xff")
WRITES = st.lists(
    st.tuples(st.lists(st.tuples(KEYS, st.binary(max_size=4)), max_size=6), st.lists(KEYS, max_size=3)),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, prefix=st.binary(max_size=2).filter(lambda key: key < b"\xff\xff"))
def test_any_writes_leave_what_a_dictionary_would_hold(
    store: Store, writes: list[tuple[list[tuple[bytes, bytes]], list[bytes]]], prefix: bytes
) -> None:
    store.wipe()
    model: dict[bytes, bytes] = {}
    for number, (puts, deletes) in enumerate(writes):
        store.write(puts, deletes, position(number))
        model.update(puts)
        for key in deletes:
            model.pop(key, None)

    assert list(store.scan(prefix)) == sorted(item for item in model.items() if item[0].startswith(prefix))
    assert store.get_many(sorted(model)) == [model[key] for key in sorted(model)]
