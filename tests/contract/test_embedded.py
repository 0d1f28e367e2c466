"""What only the embedded log promises: one owner, clients in other processes, a kill that loses nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from engine.embedded import EmbeddedClientLog, EmbeddedLog, requests, tails
from engine.embedded import log as log_module
from engine.embedded.database import DATABASE_FILE
from engine.errors import ConfigurationError, LimitExceededError, LogUnavailableFault
from engine.partition.ports import Append, Appended, Commit, Committed, Doubt, ReplyRecord
from tests.contract.elsewhere import PATIENCE_S, ROOT, run_elsewhere, start_elsewhere
from tests.contract.harness import Driver, append_of, commit_of, read_all, values_of

WAIT_MS = 10_000


# --- one owner ---


def test_a_second_owner_in_another_process_is_told_who_has_the_directory(
    directory: Path, log: EmbeddedLog
) -> None:
    told = run_elsewhere(f"""
        from pathlib import Path
        from engine.embedded import EmbeddedLog
        from engine.errors import ConfigurationError
        try:
            EmbeddedLog(Path({str(directory)!r}))
        except ConfigurationError as error:
            print(error)
    """)

    assert str(directory) in told
    assert f"process {os.getpid()} has it" in told


def test_a_second_owner_in_the_same_process_is_refused_and_harms_nothing(
    directory: Path, log: EmbeddedLog
) -> None:
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()} has it"):
        EmbeddedLog(directory)

    assert Driver(log).append(append_of(0, 1))[0].offset == 0


def test_the_directory_is_free_after_closing(directory: Path) -> None:
    EmbeddedLog(directory).close()
    EmbeddedLog(directory).close()


def test_a_forked_child_does_not_keep_the_directory_of_a_closed_owner(directory: Path) -> None:
    # Forking by hand: an activity's process pool may do it, and its processes outlive a killed owner.
    reader, writer = os.pipe()
    script = f"""
        import os
        from pathlib import Path
        from engine.embedded import EmbeddedLog
        log = EmbeddedLog(Path({str(directory)!r}))
        child = os.fork()
        if child == 0:
            os.read({reader}, 1)
            os._exit(0)
        print("ready", flush=True)
        os.kill(os.getpid(), 9)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        pass_fds=[reader],
        stderr=subprocess.DEVNULL,
    )
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    try:
        EmbeddedLog(directory).close()
    finally:
        os.write(writer, b"x")
        os.close(reader)
        os.close(writer)


def test_another_number_of_partitions_is_refused(directory: Path) -> None:
    EmbeddedLog(directory, partitions=2).close()

    with pytest.raises(ConfigurationError, match="but the log has 2"):
        EmbeddedLog(directory, partitions=3)
    EmbeddedLog(directory, partitions=2).close()


@pytest.mark.parametrize("content", [b"garbage\n" * 1000, b"SQLite format 3\0" + b"\x07" * 5000])
def test_a_file_that_is_no_log_is_refused_and_left_alone(directory: Path, content: bytes) -> None:
    directory.mkdir()
    (directory / DATABASE_FILE).write_bytes(content)

    with pytest.raises(ConfigurationError, match="expected"):
        EmbeddedLog(directory)
    assert (directory / DATABASE_FILE).read_bytes() == content


def test_a_log_of_a_later_version_is_refused(directory: Path) -> None:
    EmbeddedLog(directory).close()
    connection = sqlite3.connect(directory / DATABASE_FILE)
    connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    connection.commit()
    connection.close()

    with pytest.raises(ConfigurationError, match="of version 1, but it is of version 99"):
        EmbeddedLog(directory)


# --- durability ---


def test_a_kill_loses_nothing_that_was_told_as_done(directory: Path) -> None:
    process = start_elsewhere(f"""
        from pathlib import Path
        from engine.embedded import EmbeddedLog
        from engine.partition.ports import Append, Commit, Committed
        log = EmbeddedLog(Path({str(directory)!r}))
        claim = log.claim(0)
        def told(outcome):
            print("append", outcome.offset, flush=True)
        number = 0
        while True:
            log.append(Append(0, b"k", b"%d" % number), told)
            log.begin_commit(claim, Commit([(b"h", b"%d" % number)], b"%d" % number))
            while not (results := log.commit_results()):
                log.poll(100)
            for _, result in results:
                assert isinstance(result, Committed)
                print("commit", number, flush=True)
            number += 1
    """)
    assert process.stdout is not None
    appended = committed = -1
    while committed < 200:
        what, value = process.stdout.readline().split()
        if what == "append":
            appended = int(value)
        else:
            committed = int(value)
    process.kill()
    process.communicate()

    log = EmbeddedLog(directory)
    client = EmbeddedClientLog(directory)
    inbox = values_of(read_all(client, "inbox", 0))
    history = values_of(read_all(client, "history", 0))
    assert inbox == [b"%d" % number for number in range(len(inbox))]
    assert len(inbox) > appended
    # A commit is whole or not there, whenever the kill came.
    assert history == [b"%d" % (number // 2) for number in range(len(history))]
    assert len(history) % 2 == 0
    assert len(history) // 2 > committed
    client.close()
    log.close()


def test_closing_writes_what_was_asked_for(directory: Path) -> None:
    log = EmbeddedLog(directory)
    for number in range(5_000):
        log.append(append_of(number % 4, number))
    log.close()

    client = EmbeddedClientLog(directory)
    assert client.end_offsets("inbox") == dict.fromkeys(range(4), 1250)
    client.close()


def test_a_closed_log_refuses_and_says_so(directory: Path) -> None:
    log = EmbeddedLog(directory)
    claim = log.claim(0)
    log.close()

    assert (log.assignment(), log.holds_membership(claim), log.poll(0)) == (frozenset(), False, [])
    with pytest.raises(LogUnavailableFault, match="is closed"):
        log.append(append_of(0, 1))
    with pytest.raises(LogUnavailableFault, match="is closed"):
        log.claim(0)
    with pytest.raises(LogUnavailableFault, match="is closed"):
        log.read_inbox(claim, 0)


def test_what_a_full_disk_refuses_is_told_and_plain_appends_arrive_later(
    directory: Path, log: EmbeddedLog
) -> None:
    driver = Driver(log)
    claim = driver.claim(0)
    log.follow(claim, 0)
    connection = log.writer._database
    ((pages,),) = connection.run("PRAGMA page_count")
    connection.run(f"PRAGMA max_page_count = {pages + 2}")
    outcomes: list[Appended] = []
    log.append(Append(0, b"lost", bytes(500_000)), outcomes.append)
    log.append(Append(0, b"kept", bytes(500_000)))
    driver.wait_until(lambda: bool(outcomes))
    doubtful = driver.commit(claim, Commit([(b"h", bytes(500_000))], b"cp"))
    with pytest.raises(LogUnavailableFault, match="full"):
        log.claim(1)

    connection.run("PRAGMA max_page_count = 1000000")
    assert (outcomes, type(doubtful)) == ([Appended(-1, 0)], Doubt)
    assert [record.key for record in driver.poll_records(1)] == [b"kept"]
    again = log.claim(0)
    assert (again.history_end, again.inbox_end) == (0, 1)
    assert isinstance(driver.commit(again, commit_of(b"1", b"a")), Committed)


def test_a_record_no_log_takes_is_refused_at_once(log: EmbeddedLog) -> None:
    with pytest.raises(LimitExceededError, match="a record"):
        log.append(Append(0, b"k", bytes(1_100_000)))


# --- growth ---


def test_a_log_of_an_earlier_release_gets_the_topics_that_are_new(directory: Path) -> None:
    EmbeddedLog(directory).close()
    with sqlite3.connect(directory / DATABASE_FILE) as file:
        file.execute("DROP TABLE replies")
        file.execute("DELETE FROM topics WHERE name = 'replies'")
        before = file.execute("SELECT * FROM topics").fetchall()
    file.close()

    log = EmbeddedLog(directory)
    owner = Driver(log)
    reply = ReplyRecord("gateway", b"1", b"raw")
    assert isinstance(owner.commit(owner.claim(0), Commit([], b"cp", replies=[reply])), Committed)
    with closing(EmbeddedClientLog(directory)) as client:
        assert values_of(read_all(client, "replies", 0)) == [b"raw"]
        assert {name: client.topic_id(name) for name, *_ in before} == {
            name: each for name, each, _ in before
        }
    log.close()


def test_replies_that_were_read_long_ago_are_deleted(
    log: EmbeddedLog, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "REPLIES_KEPT", 10)
    owner = Driver(log)
    claim = owner.claim(0)
    for number in range(50):
        reply = ReplyRecord("gateway", b"%d" % number, b"%d" % number)
        owner.commit(claim, Commit([], b"cp", replies=[reply]))

    with closing(EmbeddedClientLog(directory)) as client:
        values = values_of(read_all(client, "replies", 0))
    assert values == [b"%d" % number for number in range(50 - len(values), 50)]
    assert 10 <= len(values) < 20


def test_superseded_checkpoints_are_deleted_and_nothing_else(
    directory: Path, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "CHECKPOINTS_KEPT_OFFSETS", 30)
    driver = Driver(log)
    claim, other = driver.claim(0), driver.claim(1)
    driver.commit(other, commit_of(b"other", b"a"))
    for number in range(100):
        driver.commit(claim, commit_of(b"%d" % number, b"a"))

    client = EmbeddedClientLog(directory)
    values = values_of(read_all(client, "history", 0))
    assert [value for value in values if value and value.endswith(b":a")] == [b"%d:a" % n for n in range(100)]
    checkpoints = [value for value in values if value and not value.endswith(b":a")]
    assert checkpoints == [b"%d" % number for number in range(100 - len(checkpoints), 100)]
    assert len(checkpoints) < 40
    assert values_of(read_all(client, "history", 1)) == [b"other:a", b"other"]
    client.close()


def test_an_owner_far_behind_gets_everything_though_memory_is_bounded(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "TAIL_RECORDS_MAX", 100)
    monkeypatch.setattr(tails, "POLL_RECORDS_MAX", 70)
    driver = Driver(log)
    claim = driver.claim(0)
    log.follow(claim, 0)
    log.poll(0)
    for number in range(5_000):
        log.append(append_of(0, number))
    driver.append(append_of(1, 0))

    assert values_of(driver.poll_records(5_000)) == [b"%d" % number for number in range(5_000)]


def test_timestamps_are_the_injected_clocks(directory: Path) -> None:
    times = iter(range(1_000, 9_000, 10))
    log = EmbeddedLog(directory, now_ms=lambda: next(times))
    driver = Driver(log)
    claim = driver.claim(0)

    (appended,) = driver.append(append_of(0, 1))
    result = driver.commit(claim, commit_of(b"1", b"a"))
    assert (appended.timestamp_ms, result) == (1_010, Committed(2, 1_020))
    log.close()


def test_a_bug_in_the_writer_is_told_to_all_who_need_it(directory: Path) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    log = EmbeddedLog(directory, now_ms=broken)
    with pytest.raises(AssertionError, match="writer died"):
        log.claim(0)
    with pytest.raises(AssertionError, match="writer died"):
        log.poll(WAIT_MS)
    with pytest.raises(AssertionError, match="writer died"):
        log.append(append_of(0, 1))
    log.close()


def test_a_log_whose_file_has_gone_takes_nothing_more_and_says_so(directory: Path) -> None:
    log = EmbeddedLog(directory)
    client = EmbeddedClientLog(directory)
    log.claim(0)
    for path in directory.glob(f"{DATABASE_FILE}*"):
        path.unlink()
    for ask in (
        lambda: log.claim(1),
        lambda: log.poll(WAIT_MS),
        lambda: log.append(append_of(0, 1)),
        lambda: client.publish(b"key", b"value"),
    ):
        with pytest.raises(
            ConfigurationError, match=r"to stay where it is .* but it was removed or replaced"
        ):
            ask()
    client.close()
    log.close()


def test_an_idle_log_notices_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "LOOK_S", 0.0)
    log = EmbeddedLog(directory)
    assert log.poll(0) == []
    (directory / DATABASE_FILE).rename(directory / "elsewhere")
    with pytest.raises(ConfigurationError, match="removed or replaced"):
        log.poll(0)
    log.close()
