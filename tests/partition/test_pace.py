"""The pace: nothing waits while little is under way, and nobody waits for long."""

from __future__ import annotations

from engine.partition.pace import BUSY_CALLS, GATHER_MS_MAX, SPACING_MS_MAX, Pace


def test_while_little_is_under_way_nothing_waits():
    pace = Pace()
    assert pace.commit_wait_ms(0) == 0
    pace.commits(100)
    assert pace.gather_ms() == 0
    assert pace.commit_wait_ms(100) == 0
    assert not pace.is_busy


def test_the_more_is_under_way_the_longer_a_pass_gathers_up_to_a_bound():
    pace, waits = Pace(), []
    for under_way in (0, 1, 10, 100, 1_000, 1_000_000):
        pace.under_way = under_way
        waits.append(pace.gather_ms())
    assert waits == sorted(waits)
    assert waits[-1] == GATHER_MS_MAX


def test_commits_of_a_busy_process_keep_a_distance_whoever_makes_them():
    pace = Pace()
    pace.under_way = 10_000
    assert pace.is_busy
    pace.commits(100)
    assert pace.commit_wait_ms(100) == SPACING_MS_MAX
    assert pace.commit_wait_ms(100 + SPACING_MS_MAX - 1) == 1
    assert pace.commit_wait_ms(100 + SPACING_MS_MAX) == 0


def test_busy_begins_with_a_number_of_calls():
    pace = Pace()
    pace.under_way = BUSY_CALLS - 1
    assert not pace.is_busy
    pace.under_way = BUSY_CALLS
    assert pace.is_busy
