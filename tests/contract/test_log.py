"""One suite for every `Log`: what it holds at first, and its inbox. Commits and claims have a file too."""

import threading

import pytest

from engine.core.limits import RECORD_BYTES_MAX
from engine.errors import LogDamagedFault
from engine.partition.ports import Append, Appended, Commit, Committed, Record
from tests.contract.harness import Driver, LogHarness, append_of, history_of, values_of

LARGE_BYTES = RECORD_BYTES_MAX - 1_000


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

    first, second = sorted(owner.poll_records(2), key=lambda record: record.value)
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
        # In any order: nobody waits for their outcome, so one may go at once and another join a batch.
        assert sorted(of_one, key=int) == [b"%d" % number for number in range(each)]


def test_appends_whose_outcome_is_told_keep_the_order_of_their_caller(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.log.follow(claim, claim.inbox_end)
    outcomes: list[Appended] = []
    for number in range(300):
        owner.log.append(append_of(0, number), outcomes.append)
    polled = owner.poll_records(300)
    owner.wait_until(lambda: len(outcomes) == 300)
    assert values_of(polled) == [b"%d" % number for number in range(300)]
    assert [outcome.offset for outcome in outcomes] == [record.offset for record in polled]


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


def test_an_appender_keeps_its_order_through_bursts_and_between_them(owner: Driver) -> None:
    claim = owner.claim(0)
    owner.log.follow(claim, 0)
    appender = owner.log.appender()
    outcomes: list[Appended] = []

    def arrived(count: int) -> bool:
        appender.deliver()
        return len(outcomes) == count

    for size in (1, 300, 1, 300, 1, 1):
        before = len(outcomes)
        for number in range(before, before + size):
            appender.append(append_of(0, number, b"appender"), outcomes.append)
            appender.deliver()
        owner.wait_until(lambda so_far=before + size: arrived(so_far))  # type: ignore[misc]
    polled = owner.poll_records(604)
    appender.close()
    assert values_of(polled) == [b"%d" % number for number in range(604)]
    assert [outcome.offset for outcome in outcomes] == [record.offset for record in polled]


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

    with pytest.raises(LogDamagedFault) as raised:
        owner.wait_until(lambda: False)
    assert raised.value.partition == 0
    owner.log.release(claim)
    assert values_of(owner.poll_records(1)) == [b"7"]
