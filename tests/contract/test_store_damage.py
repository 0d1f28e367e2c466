"""What files can suffer: whatever is done to a store's directory is found, or leads to an empty store."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import CacheCorruptFault, ConfigurationError
from engine.partition.ports import StorePosition
from engine.store.rocks import RocksStore, open_store

TOPIC_ID = "topic-1"
RECORDS = 2_000
FLIPS = 60
ROOT = Path(__file__).parents[2]


def position(offset: int) -> StorePosition:
    """Where the store stands after the write number `offset`."""
    return StorePosition(history_topic_id=TOPIC_ID, history_position=offset, written_at_ms=1000 + offset)


def items(generation: int, count: int = RECORDS) -> list[tuple[bytes, bytes]]:
    """Values that don't compress, so that every block of the file counts."""
    return [(b"k%05d" % index, b"%d|%d|" % (generation, index) + os.urandom(80)) for index in range(count)]


def filled(directory: Path, generation: int = 1, count: int = RECORDS) -> list[tuple[bytes, bytes]]:
    """Writes a store and closes it; returns what is in it."""
    written = items(generation, count)
    store = open_store(directory, TOPIC_ID, 0)
    store.write(written, [], position(generation))
    store.close()
    return written


def the_table(directory: Path) -> Path:
    """The one file that holds the data."""
    (table,) = directory.glob("*.sst")
    return table


def read_all(store: RocksStore, keys: list[bytes]) -> tuple[list[tuple[bytes, bytes]], list[bytes | None]]:
    """Everything, by both ways of reading."""
    return list(store.scan(b"")), store.get_many(keys)


def test_a_closed_store_opens_again_with_all_it_held(tmp_path: Path) -> None:
    written = filled(tmp_path / "s")

    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    assert (store.position(), list(store.scan(b""))) == (position(1), written)
    store.close()
    store.close()


def test_a_flipped_byte_anywhere_in_the_data_is_found_or_does_not_matter(tmp_path: Path) -> None:
    written = filled(tmp_path / "s")
    keys = [key for key, _ in written]
    whole = the_table(tmp_path / "s").read_bytes()
    outcomes = []
    for step in range(FLIPS):
        copy = tmp_path / f"copy{step}"
        shutil.copytree(tmp_path / "s", copy)
        damaged = bytearray(whole)
        damaged[step * (len(whole) - 1) // (FLIPS - 1)] ^= 0x55
        the_table(copy).write_bytes(damaged)
        store = open_store(copy, TOPIC_ID, 0)
        try:
            if store.position() is None:
                assert list(store.scan(b"")) == []
                outcomes.append("wiped")
            else:
                assert read_all(store, keys) == (written, [value for _, value in written])
                outcomes.append("whole")
        except CacheCorruptFault:
            outcomes.append("found")
            store.wipe()
            assert (store.position(), list(store.scan(b""))) == (None, [])
        finally:
            store.close()

    assert outcomes.count("found") > FLIPS // 2


def test_a_scan_over_a_corrupt_block_never_ends_silently(tmp_path: Path) -> None:
    written = filled(tmp_path / "s")
    table = the_table(tmp_path / "s")
    damaged = bytearray(table.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    table.write_bytes(damaged)

    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    with pytest.raises(CacheCorruptFault, match="checksum"):
        list(store.scan(b""))
    with pytest.raises(CacheCorruptFault, match="checksum"):
        store.get_many([key for key, _ in written])
    store.close()


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_table_cut_short_leads_to_an_empty_store(tmp_path: Path, size: int) -> None:
    filled(tmp_path / "s")
    os.truncate(the_table(tmp_path / "s"), size)

    assert_opens_empty(tmp_path / "s")


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST-*", "*.sst", "*"])
def test_deleted_files_lead_to_an_empty_store(tmp_path: Path, pattern: str) -> None:
    filled(tmp_path / "s")
    for file in list((tmp_path / "s").glob(pattern)):
        file.unlink()

    assert_opens_empty(tmp_path / "s")


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST-*", "*.sst"])
def test_files_full_of_garbage_lead_to_an_empty_store(tmp_path: Path, pattern: str) -> None:
    filled(tmp_path / "s")
    for file in list((tmp_path / "s").glob(pattern)):
        file.write_bytes(b"garbage\n" * 100)

    assert_opens_empty(tmp_path / "s")


def test_a_deleted_directory_leads_to_an_empty_store(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    shutil.rmtree(tmp_path / "s")

    assert_opens_empty(tmp_path / "s")


def test_a_directory_deleted_under_an_open_store_can_be_wiped_and_used_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    store.write([(b"a", b"1")], [], position(1))
    shutil.rmtree(tmp_path / "s")

    store.wipe()
    store.write([(b"b", b"2")], [], position(2))
    store.close()

    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    assert (store.position(), list(store.scan(b""))) == (position(2), [(b"b", b"2")])
    store.close()


def test_a_directory_deleted_under_an_open_store_does_not_keep_it_from_closing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    store.write([(b"a", b"1")], [], position(1))
    shutil.rmtree(tmp_path / "s")
    store.close()

    assert_opens_empty(tmp_path / "s")


def test_an_older_copy_put_back_says_so_by_its_position(tmp_path: Path) -> None:
    older = filled(tmp_path / "s", generation=1)
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    filled(tmp_path / "s", generation=2)
    shutil.rmtree(tmp_path / "s")
    (tmp_path / "copy").rename(tmp_path / "s")

    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    assert (store.position(), list(store.scan(b""))) == (position(1), older)
    store.close()


def test_single_files_of_an_older_copy_never_mix_with_newer_ones(tmp_path: Path) -> None:
    older = filled(tmp_path / "s", generation=1)
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    newer = filled(tmp_path / "s", generation=2)
    for file in sorted((tmp_path / "copy").iterdir()):
        mixed = tmp_path / "mixed"
        shutil.copytree(tmp_path / "s", mixed)
        shutil.copy(file, mixed / file.name)
        store = open_store(mixed, TOPIC_ID, 0)
        expected = {None: [], position(1): older, position(2): newer}[store.position()]
        assert list(store.scan(b"")) == expected, file.name
        store.close()
        shutil.rmtree(mixed)


def test_a_store_of_another_topic_or_partition_is_emptied(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    store = open_store(tmp_path / "s", "topic-2", 0)
    assert (store.position(), list(store.scan(b""))) == (None, [])
    store.close()

    filled(tmp_path / "t")
    store = open_store(tmp_path / "t", TOPIC_ID, 1)
    assert (store.position(), list(store.scan(b""))) == (None, [])
    store.close()


def test_after_a_kill_data_and_position_are_of_one_write(tmp_path: Path) -> None:
    killed = run_elsewhere(
        f"""
        import os, signal
        from engine.store import rocks
        from engine.partition.ports import StorePosition
        rocks.FLUSH_BYTES = 40_000
        store = rocks.open_store(Path({str(tmp_path / "s")!r}), {TOPIC_ID!r}, 0)
        for number in range(1, 1000):
            puts = [(b"k%d" % key, b"%d" % number + bytes(100)) for key in range(10)]
            at = StorePosition(history_topic_id={TOPIC_ID!r}, history_position=number, written_at_ms=0)
            store.write(puts, [], at)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    at = store.position()
    assert at is not None, "regular flushes keep most of what was written"
    expected = b"%d" % at.history_position + bytes(100)
    assert [value for _, value in store.scan(b"")] == [expected] * 10
    store.close()


def test_a_store_open_in_another_process_is_refused_and_not_emptied(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    written = items(1)
    store.write(written, [], position(1))

    other = run_elsewhere(
        f"""
        from engine.errors import ConfigurationError
        from engine.store.rocks import open_store
        try:
            open_store(Path({str(tmp_path / "s")!r}), {TOPIC_ID!r}, 0)
        except ConfigurationError as error:
            print(error)
        """
    )
    assert "is open already" in other.stdout, other.stderr
    with pytest.raises(ConfigurationError, match="is open already"):
        open_store(tmp_path / "s", TOPIC_ID, 0)
    store.close()

    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    assert (store.position(), list(store.scan(b""))) == (position(1), written)
    store.close()


def test_a_scan_in_progress_does_not_keep_a_closed_store_locked(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", TOPIC_ID, 0)
    store.write(items(1), [], position(1))
    scan = store.scan(b"")
    next(scan)
    store.close()

    assert "RocksStore" in type(open_and_close(tmp_path / "s")).__name__
    with pytest.raises(AssertionError, match="closed during a scan"):
        next(scan)


def test_the_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    open_and_close(tmp_path / "s")

    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(ConfigurationError, match="a link or a file"):
        open_store(tmp_path / "link", TOPIC_ID, 0)
    assert the_table(tmp_path / "real").exists()


def test_emptying_does_not_follow_links_inside_the_directory(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("stays")
    filled(tmp_path / "s")
    (tmp_path / "s" / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "s" / "CURRENT").unlink()

    assert_opens_empty(tmp_path / "s")
    assert (tmp_path / "precious" / "file").read_text() == "stays"


def assert_opens_empty(directory: Path) -> None:
    """And works."""
    store = open_store(directory, TOPIC_ID, 0)
    assert (store.position(), list(store.scan(b""))) == (None, [])
    store.write([(b"a", b"1")], [], position(7))
    assert store.get_many([b"a"]) == [b"1"]
    store.close()


def open_and_close(directory: Path) -> RocksStore:
    """Raises where something keeps it locked."""
    store = open_store(directory, TOPIC_ID, 0)
    store.close()
    return store


def run_elsewhere(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in another process."""
    lines = script.splitlines()
    indent = len(lines[1]) - len(lines[1].lstrip())
    code = "from pathlib import Path\n" + "\n".join(line[indent:] for line in lines)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
