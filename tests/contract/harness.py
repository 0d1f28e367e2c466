"""What the log suite needs of an implementation besides the port, and how a test drives a log."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from engine.embedded import EmbeddedClientLog, EmbeddedLog
from engine.partition.ports import Append, Appended, Claim, Commit, CommitResult, Log, Record

PATIENCE_S = 30.0
POLL_MS = 20


class LogHarness(Protocol):
    """One new log, empty, of at least two partitions."""

    def open_log(self, member: str) -> Log:
        """As a starting process would. The same member opened before was killed, or may be closed."""
        ...

    def close_log(self, log: Log) -> None:
        """As a process that ends orderly would."""
        ...

    def rival_of(self, log: Log) -> Log:
        """A log whose claims fence those of `log`: another member's where there can be one, else itself."""
        ...

    def read_back_history(self, partition: int) -> list[Record]:
        """What an independent reader of committed records sees, all of it."""
        ...

    def read_deadletters(self) -> list[Record]:
        """The same of the dead letters."""
        ...

    def read_replies(self) -> list[Record]:
        """The same of the replies."""
        ...

    def close(self) -> None:
        """Ends everything."""
        ...


class EmbeddedHarness:
    """A directory. It has one owner at a time, so a rival is an owner itself."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._logs: list[EmbeddedLog] = []

    def open_log(self, member: str) -> Log:
        """`member` is of no matter: whoever comes must wait for the other to end."""
        for log in self._logs:
            log.close()
        self._logs = [EmbeddedLog(self._directory)]
        return self._logs[0]

    def close_log(self, log: Log) -> None:
        """Closes it."""
        assert isinstance(log, EmbeddedLog)
        log.close()

    def rival_of(self, log: Log) -> Log:
        """The log itself."""
        return log

    def read_back_history(self, partition: int) -> list[Record]:
        """By a connection of its own."""
        return self._read("history", partition)

    def read_deadletters(self) -> list[Record]:
        """By a connection of its own."""
        return self._read("deadletter", 0)

    def read_replies(self) -> list[Record]:
        """By a connection of its own."""
        return self._read("replies", 0)

    def close(self) -> None:
        """Closes what is open."""
        for log in self._logs:
            log.close()

    def _read(self, topic: str, partition: int) -> list[Record]:
        client = EmbeddedClientLog(self._directory)
        try:
            return read_all(client, topic, partition)
        finally:
            client.close()


def read_all(client: EmbeddedClientLog, topic: str, partition: int) -> list[Record]:
    """A topic's partition from its beginning to its end."""
    found: list[Record] = []
    start = 0
    while records := client.read_topic(topic, partition, start, 1000):
        found += records
        start = records[-1].offset + 1
    return found


class Driver:
    """Does what an owner's tick does: polls, and takes outcomes. Keeps all it was given."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.polled: list[Record] = []
        self.results: list[tuple[Claim, CommitResult]] = []

    def claim(self, partition: int) -> Claim:
        """Waits until the partition is assigned, and claims it."""
        self.wait_until(lambda: partition in self.log.assignment())
        return self.log.claim(partition)

    def append(self, *records: Append) -> list[Appended]:
        """Appends all, then waits for all outcomes; in the order of `records`."""
        outcomes: dict[int, Appended] = {}
        for number, record in enumerate(records):
            self.log.append(record, lambda outcome, number=number: outcomes.update({number: outcome}))  # type: ignore[misc]
        self.wait_until(lambda: len(outcomes) == len(records))
        return [outcomes[number] for number in range(len(records))]

    def commit(self, claim: Claim, commit: Commit) -> CommitResult:
        """Commits, and waits for the outcome."""
        self.log.begin_commit(claim, commit)
        return self.wait_for_result(claim)

    def wait_for_result(self, claim: Claim) -> CommitResult:
        """The outcome of the claim's commit in flight."""
        self.wait_until(lambda: any(mine == claim for mine, _ in self.results))
        ((index, result),) = [(i, found) for i, (mine, found) in enumerate(self.results) if mine == claim]
        del self.results[index]
        return result

    def poll_records(self, count: int) -> list[Record]:
        """The next `count` polled records at least; takes them."""
        self.wait_until(lambda: len(self.polled) >= count)
        taken, self.polled = self.polled, []
        return taken

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Ticks until then, for no longer than PATIENCE_S."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_true():
            assert time.monotonic() < deadline, "waited in vain"
            self.tick()

    def tick(self) -> None:
        """One pass of an owner."""
        self.polled += self.log.poll(POLL_MS)
        self.results += self.log.commit_results()


def append_of(partition: int, number: int, sender: bytes = b"k") -> Append:
    """A record that tells what it is."""
    return Append(partition, sender, b"%d" % number, (("number", b"%d" % number),))


def commit_of(name: bytes, *keys: bytes) -> Commit:
    """A commit whose values and checkpoint begin with its name."""
    return Commit(records=[(key, name + b":" + key) for key in keys], checkpoint=name)


def values_of(records: Sequence[Record]) -> list[bytes | None]:
    """What they say."""
    return [record.value for record in records]


def history_of(log: Log, claim: Claim, start: int | None = None, end: int | None = None) -> list[Record]:
    """All that a restore would read, or a part of it."""
    start = claim.history_start if start is None else start
    end = claim.history_end if end is None else end
    return [record for batch in log.read_history(claim, start, end) for record in batch]
