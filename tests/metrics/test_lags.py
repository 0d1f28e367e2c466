"""For how long something has been waiting, from what was seen of a log's ends."""

from __future__ import annotations

from collections.abc import Iterable

from engine.node.lags import Sampler
from engine.partition.ports import CommandsEnd, Ends
from engine.telemetry.backlog import MARKS_MAX, Backlog, Waiting


def test_the_oldest_record_that_waits_is_as_old_as_the_end_that_first_had_it() -> None:
    backlog = Backlog()
    for now, end in ((1.0, 10), (2.0, 10), (3.0, 15), (4.0, 30)):
        backlog.note(now, end)
    assert backlog.since(9) == 1.0
    assert backlog.since(10) == 3.0
    assert backlog.since(29) == 4.0
    assert backlog.since(30) is None


def test_a_reader_that_never_moves_is_never_forgotten() -> None:
    backlog = Backlog()
    for number in range(MARKS_MAX * 3):
        backlog.note(float(number), number + 1)
    assert backlog.since(0) == 0.0
    assert backlog.since(MARKS_MAX * 3) is None


def test_nothing_that_waits_is_of_no_age() -> None:
    assert Waiting(0, 5.0).seconds(9.0) == 0.0
    assert Waiting(3, 5.0).seconds(9.0) == 4.0
    assert Waiting(3, None).seconds(9.0) == 0.0


class Log:
    """A log whose ends a test sets."""

    def __init__(self) -> None:
        self.ends = Ends({}, {})

    def read(self, commands: Iterable[int], inbox: Iterable[int]) -> Ends:
        return self.ends


class Owners:
    """A worker with one owner."""

    def __init__(self) -> None:
        self.positions = {0: 0}

    def commands_partitions(self) -> list[int]:
        return [0]

    def inbox_positions(self) -> dict[int, int]:
        return self.positions

    def cache_bytes(self) -> dict[int, int]:
        return {0: 7}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_transaction_that_stays_open_holds_longer_and_longer() -> None:
    log, clock = Log(), Clock()
    sampler = Sampler(log, Owners(), clock)
    for clock.now, stable, end in ((10.0, 5, 5), (20.0, 5, 8), (30.0, 5, 9)):
        log.ends = Ends({0: CommandsEnd(5, stable, end)}, {})
        sampler.sample()
    held = sampler.lags.held[0]
    assert (held.records, held.seconds(35.0)) == (4, 15.0)
    assert sampler.lags.commands[0].seconds(35.0) == 15.0


def test_producers_that_commit_again_and_again_hold_nothing() -> None:
    log, clock = Log(), Clock()
    sampler = Sampler(log, Owners(), clock)
    for clock.now, stable in ((10.0, 5), (20.0, 7), (30.0, 9)):
        log.ends = Ends({0: CommandsEnd(stable, stable, stable + 1)}, {})
        sampler.sample()
    assert sampler.lags.held[0].seconds(30.0) == 0.0
    log.ends = Ends({0: CommandsEnd(10, 10, 10)}, {})
    sampler.sample()
    assert sampler.lags.held[0] == Waiting()


def test_partitions_that_are_elsewhere_now_are_forgotten() -> None:
    log, clock = Log(), Clock()
    owners = Owners()
    sampler = Sampler(log, owners, clock)
    log.ends = Ends({0: CommandsEnd(0, 3, 3)}, {0: 9})
    sampler.sample()
    assert (sampler.lags.inbox[0].records, sampler.lags.commands[0].records) == (9, 3)
    clock.now, log.ends = 50.0, Ends({}, {})
    sampler.sample()
    assert (sampler.lags.inbox, sampler.lags.commands, sampler.lags.held) == ({}, {}, {})
    clock.now, log.ends = 60.0, Ends({0: CommandsEnd(0, 3, 3)}, {0: 9})
    sampler.sample()
    assert sampler.lags.inbox[0].seconds(60.0) == 0.0
