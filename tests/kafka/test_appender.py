"""Which producer an append goes by: alone at once, in a crowd with others; and never out of order."""

import pytest

from engine.kafka import appender
from engine.kafka.appender import CROWD_RECORDS, CROWD_SECONDS, Crowd, KafkaAppender, ResultAppender
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Append, Appended

SETTINGS = KafkaSettings(bootstrap_servers="localhost:1", app="a")


class _Clock:
    """Set by the test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class _Producer:
    """Keeps what it is given until it is told that it has arrived."""

    def __init__(self, linger_ms: float) -> None:
        self.linger_ms = linger_ms
        self.under_way: list[bytes] = []

    def produce(self, topic: str, value: bytes, *_: object, **__: object) -> None:
        self.under_way.append(value)

    def __len__(self) -> int:
        return len(self.under_way)


class _Producers:
    """All that were opened; they write down who was given what."""

    def __init__(self) -> None:
        self.made: list[_Producer] = []

    def open(self, _: KafkaSettings, topic: str, *, only_errors: bool, linger_ms: float = 0) -> _Producer:
        self.made.append(_Producer(linger_ms))
        return self.made[-1]

    @property
    def alone(self) -> _Producer:
        return next(each for each in self.made if not each.linger_ms)

    @property
    def together(self) -> _Producer:
        return next(each for each in self.made if each.linger_ms)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(appender, "time", made)
    return made


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> _Producers:
    made = _Producers()
    monkeypatch.setattr(appender, "appending_producer", made.open)
    return made


def _record(number: int) -> Append:
    return Append(0, b"k", b"%d" % number)


def _ignore(_: Appended) -> None:
    """Nobody wants to know here."""


def test_a_crowd_is_as_many_records_as_fill_it_within_its_time() -> None:
    crowd = Crowd()
    step = CROWD_SECONDS / CROWD_RECORDS
    came = [crowd.joined(1_000.0 + number * step) for number in range(CROWD_RECORDS)]
    assert came == [False] * (CROWD_RECORDS - 1) + [True]


def test_a_crowd_is_over_when_records_come_less_often() -> None:
    crowd = Crowd()
    now = 1_000.0
    for _ in range(CROWD_RECORDS):
        crowd.joined(now)
    assert crowd.joined(now + CROWD_SECONDS / 2)
    assert not crowd.joined(now + 2 * CROWD_SECONDS)


def test_tracked_appends_go_alone_until_they_are_a_crowd(producers: _Producers, clock: _Clock) -> None:
    subject = KafkaAppender(SETTINGS, "inbox")
    for number in range(3):
        subject.append(_record(number), _ignore)
        producers.alone.under_way.clear()
        clock.now += 2 * CROWD_SECONDS
    assert producers.together.under_way == []

    for number in range(CROWD_RECORDS):
        subject.append(_record(number), _ignore)
        producers.alone.under_way.clear()
    assert producers.together.under_way == [b"%d" % (CROWD_RECORDS - 1)]


@pytest.mark.parametrize("is_arriving", [False, True])
def test_tracked_appends_change_producers_only_when_nothing_is_under_way(
    producers: _Producers, clock: _Clock, *, is_arriving: bool
) -> None:
    subject = KafkaAppender(SETTINGS, "inbox")
    for number in range(CROWD_RECORDS + 5):
        subject.append(_record(number), _ignore)
    # A crowd by now, but what began alone could be overtaken.
    assert len(producers.alone) == CROWD_RECORDS + 5
    assert producers.together.under_way == []

    if is_arriving:
        producers.alone.under_way.clear()
    subject.append(_record(99), _ignore)
    assert (producers.together.under_way == [b"99"]) is is_arriving

    # And the other way round.
    clock.now += 2 * CROWD_SECONDS
    subject.append(_record(100), _ignore)
    assert (b"100" in producers.together.under_way) is is_arriving
    producers.together.under_way.clear()
    subject.append(_record(101), _ignore)
    assert b"101" in producers.alone.under_way


def test_results_need_no_order_and_join_a_crowd_at_once(producers: _Producers, clock: _Clock) -> None:
    subject = ResultAppender(SETTINGS, "inbox")
    step = CROWD_SECONDS / CROWD_RECORDS * 0.99
    for number in range(CROWD_RECORDS + 1):
        subject.append(_record(number))
        clock.now += step
    assert producers.alone.under_way == [b"%d" % number for number in range(CROWD_RECORDS - 1)]
    assert producers.together.under_way == [b"%d" % number for number in (CROWD_RECORDS - 1, CROWD_RECORDS)]


def test_a_result_close_behind_another_has_company(producers: _Producers, clock: _Clock) -> None:
    subject = ResultAppender(SETTINGS, "inbox")
    subject.append(_record(1))
    clock.now += appender.CLOSE_SECONDS / 2
    subject.append(_record(2))
    assert (producers.alone.under_way, producers.together.under_way) == ([b"1"], [b"2"])
