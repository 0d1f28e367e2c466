"""The embedded log beside its owner: clients in this and other processes, and the ingress."""

import threading
from pathlib import Path

import pytest

from engine.embedded import EmbeddedClientLog, EmbeddedCommandSource, EmbeddedLog
from engine.errors import ConfigurationError
from tests.contract.elsewhere import PATIENCE_S, run_elsewhere
from tests.contract.harness import Driver, append_of, commit_of, values_of

WAIT_MS = 10_000


def test_a_client_needs_a_log_that_was_made(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="start the engine there first"):
        EmbeddedClientLog(directory)


def test_commands_published_by_another_process_reach_the_ingress(directory: Path, log: EmbeddedLog) -> None:
    source = EmbeddedCommandSource(log)
    published = run_elsewhere(f"""
        from pathlib import Path
        from engine.embedded import EmbeddedClientLog
        client = EmbeddedClientLog(Path({str(directory)!r}))
        print([client.publish(b"key", b"%d" % number, (("h", b"1"),)) for number in range(3)])
        client.close()
    """)

    assert published.strip() == "[0, 1, 2]"
    records = source.poll(WAIT_MS)
    assert [(r.offset, r.key, r.value, r.headers) for r in records] == [
        (number, b"key", b"%d" % number, (("h", b"1"),)) for number in range(3)
    ]
    assert source.topic_id == log.identity.commands_topic_id
    source.close()


def test_publishers_of_this_and_another_process_share_the_offsets(directory: Path, log: EmbeddedLog) -> None:
    count = 200
    here = EmbeddedClientLog(directory, owner=log)
    beside = EmbeddedClientLog(directory)
    offsets: list[int] = []

    def publish(client: EmbeddedClientLog) -> None:
        for _ in range(count):
            offsets.append(client.publish(b"k", b"v"))
            log.append(append_of(0, 1))

    threads = [threading.Thread(target=publish, args=(client,)) for client in (here, beside)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(offsets) == list(range(2 * count))
    assert here.end_offsets("commands") == {0: 2 * count}
    here.close()
    beside.close()


def test_the_ingress_goes_on_from_its_position_after_a_restart(directory: Path) -> None:
    log = EmbeddedLog(directory)
    source = EmbeddedCommandSource(log)
    client = EmbeddedClientLog(directory, owner=log)
    for number in range(5):
        client.publish(b"k", b"%d" % number)
    assert len(source.poll(WAIT_MS)) == 5
    source.commit({0: 3})
    assert (source.poll(0), source.assignment(), source.position) == ([], {0: 1}, {0: 3})

    source.restart()
    assert (values_of(source.poll(0)), source.assignment()) == ([b"3", b"4"], {0: 2})
    client.close()
    source.close()
    log.close()

    log = EmbeddedLog(directory)
    source = EmbeddedCommandSource(log)
    assert values_of(source.poll(0)) == [b"3", b"4"]
    source.close()
    log.close()


def test_commands_behind_the_position_are_deleted_and_offsets_go_on(
    directory: Path, log: EmbeddedLog
) -> None:
    source = EmbeddedCommandSource(log)
    beside = EmbeddedClientLog(directory)
    for number in range(4):
        beside.publish(b"k", b"%d" % number)
    source.poll(WAIT_MS)
    source.commit({0: 4})
    Driver(log).append(append_of(0, 1))

    assert beside.read_topic("commands", 0, 0, 10) == []
    assert (beside.start_offsets("commands"), beside.progress("commands")) == ({0: 4}, {0: 4})
    assert beside.publish(b"k", b"next") == 4
    assert values_of(source.poll(WAIT_MS)) == [b"next"]
    beside.close()
    source.close()


@pytest.mark.parametrize("is_in_process", [True, False])
def test_a_client_is_woken_by_a_change_and_not_without_one(
    directory: Path, log: EmbeddedLog, *, is_in_process: bool
) -> None:
    client = EmbeddedClientLog(directory, owner=log if is_in_process else None)
    assert not client.wait_for_change(0)
    Driver(log).append(append_of(0, 1))
    assert client.wait_for_change(WAIT_MS)
    assert not client.wait_for_change(5)

    woken = []
    waiter = threading.Thread(target=lambda: woken.append(client.wait_for_change(WAIT_MS)))
    waiter.start()
    log.append(append_of(0, 1))
    waiter.join(PATIENCE_S)
    assert woken == [True]
    client.close()


def test_a_client_reads_every_topic_while_the_owner_writes(directory: Path, log: EmbeddedLog) -> None:
    driver = Driver(log)
    claim = driver.claim(0)
    client = EmbeddedClientLog(directory)
    driver.append(append_of(0, 1), append_of(0, 2), append_of(1, 3))
    driver.commit(claim, commit_of(b"1", b"a"))
    log.report_progress(claim, 2)
    driver.append(append_of(0, 4))

    assert values_of(client.read_topic("inbox", 0, 1, 1)) == [b"2"]
    assert values_of(client.read_topic("history", 0, 0, 10)) == [b"1:a", b"1"]
    assert client.read_topic("deadletter", 0, 0, 10) == []
    assert client.end_offsets("inbox") == {0: 3, 1: 1, 2: 0, 3: 0}
    assert client.end_offsets("history")[0] == 3
    assert client.progress("inbox") == {0: 2}
    assert client.topic_id("history") == log.identity.history_topic_id
    client.close()
