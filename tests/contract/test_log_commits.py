"""One suite for every `Log`: commits, claims and restores."""

from contextlib import suppress

from engine.codec.topics import CHECKPOINT_KEY
from engine.errors import LimitExceededError
from engine.partition.ports import Commit, Committed, DeadLetter, Doubt, Fenced, ReplyRecord
from tests.contract.harness import Driver, LogHarness, append_of, commit_of, history_of, values_of

OVERSIZE_BYTES = 1_100_000


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


def test_a_commit_that_was_opened_early_is_seen_as_one_when_it_ends(
    owner: Driver, harness: LogHarness
) -> None:
    claim = owner.claim(0)
    for number in range(3):
        commit = commit_of(b"%d" % number, b"a", b"b", b"c")
        owner.log.open_commit(claim, commit.records[:2])
        owner.tick()
        assert isinstance(owner.commit(claim, commit), Committed)
    expected = [value % number for number in range(3) for value in (b"%d:a", b"%d:b", b"%d:c", b"%d")]
    assert values_of(harness.read_back_history(0)) == expected


def test_what_was_opened_and_not_committed_is_never_seen_and_in_nobodys_way(
    owner: Driver, harness: LogHarness
) -> None:
    old = owner.claim(0)
    commit = commit_of(b"old", b"a", b"b")
    owner.log.open_commit(old, commit.records[:1])
    rival = Driver(harness.rival_of(owner.log))
    new = rival.log.claim(0)
    assert isinstance(rival.commit(new, commit_of(b"new", b"a")), Committed)
    assert values_of(harness.read_back_history(0)) == [b"new:a", b"new"]
    assert not isinstance(owner.commit(old, commit), Committed)
    assert values_of(harness.read_back_history(0)) == [b"new:a", b"new"]


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


def test_replies_are_seen_with_the_commit_and_those_to_one_requester_in_one_partition(
    owner: Driver, harness: LogHarness
) -> None:
    claims = [owner.claim(0), owner.claim(1)]
    for number, claim in enumerate(claims):
        replies = [ReplyRecord(f"gateway-{each}", b"%d" % number, b"\0raw") for each in "ab"]
        assert isinstance(owner.commit(claim, Commit([], b"cp", replies=replies)), Committed)

    found = harness.read_replies()
    assert sorted((record.key, record.value, record.headers) for record in found) == [
        (b"%d" % number, b"\0raw", ()) for number in (0, 0, 1, 1)
    ]
    by_key = [sorted(each.partition for each in found if each.key == key) for key in (b"0", b"1")]
    assert by_key[0] == by_key[1]


def test_of_a_commit_with_a_record_no_log_takes_nothing_is_seen(owner: Driver, harness: LogHarness) -> None:
    claim = owner.claim(0)
    letter = DeadLetter(b"key", b"raw", ())
    reply = ReplyRecord("gateway", b"1", b"raw")
    records = [(b"a", b"1"), (b"b", bytes(OVERSIZE_BYTES)), (b"c", b"3")]
    oversize = Commit(records, b"cp", [letter], [reply])
    with suppress(LimitExceededError):
        assert not isinstance(owner.commit(claim, oversize), Committed)

    again = owner.log.claim(0)
    assert isinstance(owner.commit(again, commit_of(b"next", b"d")), Committed)
    assert values_of(harness.read_back_history(0)) == [b"next:d", b"next"]
    assert harness.read_deadletters() == []
    assert harness.read_replies() == []


# --- claims and restores ---


def test_a_zombie_is_fenced_and_nothing_of_it_is_seen(owner: Driver, harness: LogHarness) -> None:
    old = owner.claim(0)
    owner.commit(old, commit_of(b"before", b"a"))
    rival = Driver(harness.rival_of(owner.log))
    new = rival.log.claim(0)

    letter = DeadLetter(b"key", b"raw", ())
    reply = ReplyRecord("gateway", b"1", b"zombie")
    result = owner.commit(old, Commit([(b"a", b"zombie")], b"zombie", [letter], [reply]))
    assert isinstance(result, Fenced), result
    assert isinstance(rival.commit(new, commit_of(b"after", b"a")), Committed)

    assert values_of(harness.read_back_history(0)) == [b"before:a", b"before", b"after:a", b"after"]
    assert harness.read_deadletters() == []
    assert harness.read_replies() == []


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

        assert isinstance(result, (Committed, Fenced, Doubt))
        # After a doubt only the new claim knows, and a later reader must agree with it.
        is_there = name in restored if isinstance(result, Doubt) else isinstance(result, Committed)
        assert (name in restored) == is_there
        assert (name in values_of(harness.read_back_history(0))) == is_there


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
