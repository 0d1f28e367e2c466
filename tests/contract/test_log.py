"""One suite for every `Log`: what an owner may rely on, whichever it has."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.codec.topics import CHECKPOINT_KEY
from engine.core.limits import RECORD_BYTES_MAX
from engine.errors import LimitExceededError, LogDamagedFault
from engine.partition.ports import (
    Append,
    Appended,
    Claim,
    Commit,
    Committed,
    DeadLetter,
    Fenced,
    Log,
    Record,
)
from tests.contract.harness import Driver, EmbeddedHarness, LogHarness, append_of, commit_of, values_of

OVERSIZE_BYTES = 1_100_000
LARGE_BYTES = RECORD_BYTES_MAX - 1_000


@pytest.fixture(params=["embedded"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogHarness]:
    """A new log of each kind."""
    made: LogHarness = {"embedded": EmbeddedHarness}[request.param](tmp_path / "log")
    yield made
    made.close()


@pytest.fixture
def owner(harness: LogHarness) -> Driver:
    """The first member."""
    return Driver(harness.open_log("a"))


def history_of(log: Log, claim: Claim, start: int | None = None, end: int | None = None) -> list[Record]:
    """All that a restore would read, or a part of it."""
    start = claim.history_start if start is None else start
    end = claim.history_end if end is None else end
    return [record for batch in log.read_history(claim, start, end) for record in batch]


# --- what there is ---


def test_a_new_log_has_nothing_to_read_and_says_so_in_its_claim(owner: Driver, harness: LogHarness) -> None:
    claim = owner.claim(0)

    assert (claim.partition, claim.history_start, claim.inbox_start, claim.inbox_end) == (0, 0, 0, 0)
    assert history_of(owner.log, claim) == []
    assert harness.read_back_history(0) == []


def test_the_identity_names_three_topics_and_is_the_same_after_a_restart(harness: LogHarness) -> None:
    first = harness.open_log("a").identity
    second = harness.open_log("a").identity

    assert first == second
    assert len({first.commands_topic_id, first.inbox_topic_id, first.history_topic_id}) == 3
    assert first.partitions >= 2


def test_a_lone_member_is_assigned_every_partition(owner: Driver) -> None:
    everything = frozenset(range(owner.log.identity.partitions))
    owner.wait_until(lambda: owner.log.assignment() == everything)

    assert owner.log.holds_membership(owner.log.claim(0))


# --- inbox ---


def test_what_is_appended_is_polled_as_it_was_in_order_with_rising_offsets(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.log.follow(claim, claim.inbox_end)
    appended = owner.append(*(append_of(0, number) for number in range(50)))

    polled = owner.poll_records(50)
    assert values_of(polled) == [b"%d" % number for number in range(50)]
    assert {(record.partition, record.key) for record in polled} == {(0, b"k")}
    assert [record.headers for record in polled] == [(("number", b"%d" % number),) for number in range(50)]
    assert [Appended(record.offset, record.timestamp_ms) for record in polled] == appended
    offsets = [record.offset for record in polled]
    assert offsets == sorted(set(offsets))
    assert offsets[0] >= claim.inbox_end


def test_an_append_without_callback_arrives_too_and_empty_values_stay_empty(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.log.follow(claim, 0)
    owner.log.append(Append(0, b"key", b""))
    owner.log.append(Append(0, b"key", b"\0\xff", (("h", b""), ("h", b"\0"), ("ü", b"2"))))

    first, second = owner.poll_records(2)
    assert (first.key, first.value, first.headers) == (b"key", b"", ())
    assert (second.value, second.headers) == (b"\0\xff", (("h", b""), ("h", b"\0"), ("ü", b"2")))


def test_a_record_as_large_as_the_engine_makes_them_passes(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.log.follow(claim, 0)
    large = bytes(LARGE_BYTES)
    owner.append(Append(0, b"key", large))

    assert values_of(owner.poll_records(1)) == [large]
    assert isinstance(owner.commit(claim, Commit([(b"h", large)], checkpoint=large)), Committed)


def test_only_followed_partitions_are_polled(owner: Driver) -> None:
    first, second = owner.claim(0), owner.claim(1)
    owner.log.follow(second, second.inbox_end)
    owner.append(append_of(0, 1), append_of(1, 2), append_of(0, 3))
    assert values_of(owner.poll_records(1)) == [b"2"]

    owner.log.follow(first, first.inbox_end)
    assert values_of(owner.poll_records(2)) == [b"1", b"3"]


def test_polling_begins_at_the_offset_that_was_asked_for(owner: Driver) -> None:
    claim = owner.claim(0)
    appended = owner.append(*(append_of(0, number) for number in range(10)))
    owner.log.follow(claim, appended[6].offset)
    owner.append(append_of(0, 10))

    assert values_of(owner.poll_records(5)) == [b"6", b"7", b"8", b"9", b"10"]


def test_nothing_is_polled_of_a_released_claim(owner: Driver) -> None:
    first, second = owner.claim(0), owner.claim(1)
    owner.log.follow(first, 0)
    owner.log.follow(second, 0)
    owner.log.release(first)
    owner.append(append_of(0, 1))
    owner.append(append_of(1, 2))

    assert values_of(owner.poll_records(1)) == [b"2"]
    owner.log.release(first)


def test_following_into_appends_of_other_threads_misses_none_and_repeats_none(owner: Driver) -> None:
    senders, each = 4, 300
    claim = owner.claim(0)
    owner.append(append_of(0, -1, b"early"))

    def send(name: bytes) -> None:
        for number in range(each):
            owner.log.append(append_of(0, number, name))

    threads = [threading.Thread(target=send, args=(b"sender%d" % index,)) for index in range(senders)]
    for thread in threads:
        thread.start()
    owner.log.follow(claim, claim.inbox_end)
    polled = owner.poll_records(senders * each + 1)
    for thread in threads:
        thread.join()

    assert len(polled) == senders * each + 1
    offsets = [record.offset for record in polled]
    assert offsets == sorted(set(offsets))
    for index in range(senders):
        of_one = [record.value for record in polled if record.key == b"sender%d" % index]
        assert of_one == [b"%d" % number for number in range(each)]


def test_callbacks_run_once_in_the_thread_that_takes_the_results(owner: Driver) -> None:
    owner.claim(0)
    calls: list[tuple[Appended, str]] = []
    sender = threading.Thread(
        target=owner.log.append,
        args=(append_of(0, 1), lambda outcome: calls.append((outcome, threading.current_thread().name))),
    )
    sender.start()
    sender.join()
    owner.wait_until(lambda: bool(calls))
    owner.tick()

    ((outcome, thread),) = calls
    assert thread == threading.current_thread().name
    read = owner.log.read_inbox(owner.log.claim(0), outcome.offset)
    assert read is not None
    assert (read.offset, read.timestamp_ms, read.value) == (outcome.offset, outcome.timestamp_ms, b"1")


def test_an_appender_has_its_own_order_and_tells_its_own_outcomes(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.log.follow(claim, 0)
    appender = owner.log.appender()
    mine: list[Appended] = []
    owner.append(append_of(0, -1))
    for number in range(20):
        appender.append(append_of(0, number, b"appender"), mine.append)
    polled = owner.poll_records(21)
    assert mine == []

    def deliver() -> bool:
        appender.deliver()
        return len(mine) == 20

    owner.wait_until(deliver)
    appender.close()
    assert values_of(polled) == [b"%d" % number for number in range(-1, 20)]
    assert mine == [Appended(record.offset, record.timestamp_ms) for record in polled[1:]]


def test_progress_is_what_was_followed_and_reported_last(owner: Driver) -> None:
    claim = owner.claim(0)
    (appended,) = owner.append(append_of(0, 1))
    owner.log.follow(claim, appended.offset)
    assert owner.log.progress(0) == appended.offset

    owner.log.report_progress(claim, appended.offset + 1)
    assert owner.log.progress(0) == appended.offset + 1


def test_one_inbox_record_can_be_read_by_its_offset(owner: Driver) -> None:
    claim = owner.claim(0)
    appended = owner.append(*(append_of(0, number) for number in range(3)))

    read = owner.log.read_inbox(claim, appended[1].offset)
    assert read == Record(0, appended[1].offset, appended[1].timestamp_ms, b"k", b"1", (("number", b"1"),))
    assert owner.log.read_inbox(claim, appended[2].offset + 1) is None


def test_trimming_removes_what_lies_before_the_offset_and_nothing_else(owner: Driver) -> None:
    claim = owner.claim(0)
    appended = owner.append(*(append_of(0, number) for number in range(6)))
    owner.log.trim(claim, appended[4].offset)
    owner.wait_until(lambda: owner.log.read_inbox(claim, appended[3].offset) is None)

    assert owner.log.read_inbox(claim, appended[0].offset) is None
    kept = owner.log.read_inbox(claim, appended[4].offset)
    assert kept is not None
    assert kept.value == b"4"
    again = owner.log.claim(0)
    assert (again.inbox_start, again.inbox_end) == (appended[4].offset, appended[5].offset + 1)
    owner.log.follow(again, appended[4].offset)
    assert values_of(owner.poll_records(2)) == [b"4", b"5"]


def test_offsets_go_on_after_everything_was_trimmed(harness: LogHarness, owner: Driver) -> None:
    claim = owner.claim(0)
    (last,) = owner.append(append_of(0, 1))
    owner.log.trim(claim, last.offset + 1)
    owner.wait_until(lambda: owner.log.read_inbox(claim, last.offset) is None)
    harness.close_log(owner.log)

    owner = Driver(harness.open_log("a"))
    again = owner.claim(0)
    assert (again.inbox_start, again.inbox_end) == (last.offset + 1, last.offset + 1)
    (following,) = owner.append(append_of(0, 2))
    assert following.offset > last.offset


def test_polling_an_offset_that_is_gone_is_damage_and_harms_no_other_partition(owner: Driver) -> None:
    claim, other = owner.claim(0), owner.claim(1)
    appended = owner.append(*(append_of(0, number) for number in range(3)))
    owner.log.trim(claim, appended[2].offset)
    owner.wait_until(lambda: owner.log.read_inbox(claim, appended[1].offset) is None)
    owner.log.follow(other, 0)
    owner.log.follow(claim, appended[0].offset)
    owner.log.append(append_of(1, 7))

    def poll_until_fault() -> bool:
        try:
            owner.tick()
        except LogDamagedFault:
            return True
        return False

    owner.wait_until(poll_until_fault)
    owner.log.release(claim)
    assert values_of(owner.poll_records(1)) == [b"7"]


# --- commits ---


def test_a_commit_is_read_back_whole_in_order_with_its_checkpoint_last(
    owner: Driver, harness: LogHarness
) -> None:
    claim = owner.claim(0)
    result = owner.commit(claim, Commit([(b"i|r|1", b"one"), (b"i|r|2", None), (b"", b"")], checkpoint=b"cp"))

    records = harness.read_back_history(0)
    assert [(record.key, record.value) for record in records] == [
        (b"i|r|1", b"one"),
        (b"i|r|2", None),
        (b"", b""),
        (CHECKPOINT_KEY, b"cp"),
    ]
    assert isinstance(result, Committed)
    assert result.history_position == records[-1].offset + 1
    assert result.timestamp_ms == records[-1].timestamp_ms
    assert harness.read_back_history(1) == []


def test_commits_follow_one_another_and_positions_rise(owner: Driver, harness: LogHarness) -> None:
    claim = owner.claim(0)
    results = [owner.commit(claim, commit_of(b"%d" % number, b"a", b"b")) for number in range(5)]

    positions = [result.history_position for result in results if isinstance(result, Committed)]
    assert positions == sorted(set(positions))
    assert len(positions) == 5
    expected = [value % number for number in range(5) for value in (b"%d:a", b"%d:b", b"%d")]
    assert values_of(harness.read_back_history(0)) == expected


def test_a_commit_may_hold_nothing_but_its_checkpoint(owner: Driver, harness: LogHarness) -> None:
    result = owner.commit(owner.claim(0), Commit([], checkpoint=b"cp"))

    assert isinstance(result, Committed)
    assert values_of(harness.read_back_history(0)) == [b"cp"]


def test_an_outcome_is_told_once(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.commit(claim, commit_of(b"1", b"a"))
    owner.append(append_of(0, 1))
    owner.tick()

    assert owner.results == []


def test_partitions_commit_side_by_side(owner: Driver, harness: LogHarness) -> None:
    claims = [owner.claim(0), owner.claim(1)]
    for claim in claims:
        owner.log.begin_commit(claim, commit_of(b"p%d" % claim.partition, b"a"))

    assert all(isinstance(owner.wait_for_result(claim), Committed) for claim in claims)
    assert values_of(harness.read_back_history(0)) == [b"p0:a", b"p0"]
    assert values_of(harness.read_back_history(1)) == [b"p1:a", b"p1"]


def test_dead_letters_are_seen_with_the_commit(owner: Driver, harness: LogHarness) -> None:
    letter = DeadLetter(b"key", b"\0raw", (("reason", b"bad"), ("offset", b"7")))
    result = owner.commit(owner.claim(0), Commit([], checkpoint=b"cp", dead_letters=[letter]))

    assert isinstance(result, Committed)
    (found,) = harness.read_deadletters()
    assert (found.key, found.value, found.headers) == (letter.key, letter.value, letter.headers)


def test_of_a_commit_with_a_record_no_log_takes_nothing_is_seen(owner: Driver, harness: LogHarness) -> None:
    claim = owner.claim(0)
    letter = DeadLetter(b"key", b"raw", ())
    oversize = Commit([(b"a", b"1"), (b"b", bytes(OVERSIZE_BYTES)), (b"c", b"3")], b"cp", [letter])
    with suppress(LimitExceededError):
        assert not isinstance(owner.commit(claim, oversize), Committed)

    again = owner.log.claim(0)
    assert isinstance(owner.commit(again, commit_of(b"next", b"d")), Committed)
    assert values_of(harness.read_back_history(0)) == [b"next:d", b"next"]
    assert harness.read_deadletters() == []


# --- claims and restores ---


def test_a_zombie_is_fenced_and_nothing_of_it_is_seen(owner: Driver, harness: LogHarness) -> None:
    old = owner.claim(0)
    owner.commit(old, commit_of(b"before", b"a"))
    rival = Driver(harness.rival_of(owner.log))
    new = rival.log.claim(0)

    letter = DeadLetter(b"key", b"raw", ())
    result = owner.commit(old, Commit([(b"a", b"zombie")], b"zombie", [letter]))
    assert isinstance(result, Fenced), result
    assert isinstance(rival.commit(new, commit_of(b"after", b"a")), Committed)

    assert values_of(harness.read_back_history(0)) == [b"before:a", b"before", b"after:a", b"after"]
    assert harness.read_deadletters() == []


def test_a_claim_fences_its_own_partition_only(owner: Driver, harness: LogHarness) -> None:
    other = owner.claim(1)
    owner.claim(0)
    harness.rival_of(owner.log).claim(0)

    assert isinstance(owner.commit(other, commit_of(b"x", b"a")), Committed)


def test_a_commit_in_flight_at_a_claim_is_either_in_its_bounds_or_fenced(
    owner: Driver, harness: LogHarness
) -> None:
    for number in range(5):
        old = owner.claim(0)
        name = b"flight%d" % number
        owner.log.begin_commit(old, commit_of(name, b"a"))
        rival = harness.rival_of(owner.log)
        new = rival.claim(0)
        restored = values_of(history_of(rival, new))
        result = owner.wait_for_result(old)

        assert isinstance(result, (Committed, Fenced))
        assert (name in restored) == isinstance(result, Committed)
        assert (name in values_of(harness.read_back_history(0))) == isinstance(result, Committed)


def test_a_claim_bounds_all_that_was_committed_and_appended_before(
    harness: LogHarness, owner: Driver
) -> None:
    first = owner.claim(0)
    position = 0
    for number in range(3):
        result = owner.commit(first, commit_of(b"%d" % number, b"a", b"b"))
        assert isinstance(result, Committed)
        position = result.history_position
    appended = owner.append(append_of(0, 1), append_of(0, 2))
    harness.close_log(owner.log)

    owner = Driver(harness.open_log("a"))
    second = owner.claim(0)
    assert second.token != first.token
    assert second.history_end >= position
    assert (second.inbox_start, second.inbox_end) == (0, appended[-1].offset + 1)
    assert history_of(owner.log, second) == harness.read_back_history(0)


def test_history_can_be_read_on_from_the_position_of_a_commit(owner: Driver) -> None:
    claim = owner.claim(0)
    first = owner.commit(claim, commit_of(b"1", b"a"))
    second = owner.commit(claim, commit_of(b"2", b"a"))
    assert isinstance(first, Committed)
    assert isinstance(second, Committed)

    again = owner.log.claim(0)
    assert values_of(history_of(owner.log, again, first.history_position)) == [b"2:a", b"2"]
    assert values_of(history_of(owner.log, again, 0, first.history_position)) == [b"1:a", b"1"]
    assert history_of(owner.log, again, second.history_position) == []


def test_a_long_history_comes_in_batches_without_gap_or_repetition(owner: Driver) -> None:
    claim = owner.claim(0)
    count = 5_000
    commit = Commit([(b"%d" % number, b"v%d" % number) for number in range(count)], checkpoint=b"cp")
    assert isinstance(owner.commit(claim, commit), Committed)

    again = owner.log.claim(0)
    batches = list(owner.log.read_history(again, again.history_start, again.history_end))
    records = [record for batch in batches for record in batch]
    assert all(batches)
    assert values_of(records) == [b"v%d" % number for number in range(count)] + [b"cp"]
    assert records == sorted(records, key=lambda record: record.offset)


def test_what_was_told_as_done_is_there_after_a_restart(harness: LogHarness, owner: Driver) -> None:
    claim = owner.claim(0)
    owner.commit(claim, commit_of(b"1", b"a"))
    appended = owner.append(append_of(0, 1), append_of(0, 2))

    owner = Driver(harness.open_log("a"))
    again = owner.claim(0)
    owner.log.follow(again, appended[0].offset)
    assert values_of(owner.poll_records(2)) == [b"1", b"2"]
    assert values_of(history_of(owner.log, again)) == [b"1:a", b"1"]
    result = owner.commit(claim, commit_of(b"zombie", b"a"))
    assert isinstance(result, Fenced), "a claim of the process before is as void as any"


def test_an_owner_that_reports_progress_and_lets_go_can_claim_again(owner: Driver) -> None:
    claim = owner.claim(0)
    (appended,) = owner.append(append_of(0, 1))
    owner.log.report_progress(claim, appended.offset + 1)
    owner.log.release(claim)

    again = owner.claim(0)
    assert isinstance(owner.commit(again, commit_of(b"1", b"a")), Committed)
