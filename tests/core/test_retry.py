"""When a failed call is tried again: properties of the backoff, and what of a policy is refused."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine as wf
from engine.core import limits
from engine.core.policy import milliseconds
from engine.core.retry import backoff_ms, retry_at_ms
from engine.model import events as ev
from engine.model.failure import RetryPolicy, failure_of
from tests.core.driver import World

BOOM = failure_of("ValueError", "boom")
YEAR_MS = 366 * 24 * 3600 * 1000

policies = st.builds(
    RetryPolicy,
    attempts_max=st.integers(1, limits.RETRY_ATTEMPTS_MAX),
    first_interval_ms=st.integers(0, limits.TIMER_MS_MAX),
    backoff_coefficient=st.floats(1, 1e308),
    interval_ms_max=st.none() | st.integers(0, limits.TIMER_MS_MAX),
    timeout_ms=st.none() | st.integers(0, limits.TIMER_MS_MAX),
)
attempts = st.integers(1, limits.RETRY_ATTEMPTS_MAX)


@given(policies, attempts)
def test_a_wait_is_never_negative_nor_over_its_bound(policy, attempt):
    wait_ms = backoff_ms(policy, attempt)
    assert isinstance(wait_ms, int)
    assert 0 <= wait_ms <= (policy.interval_ms_max if policy.interval_ms_max is not None else YEAR_MS)


@given(policies, attempts)
def test_a_wait_is_never_shorter_than_the_one_before(policy, attempt):
    assert backoff_ms(policy, attempt) <= backoff_ms(policy, attempt + 1)


@given(policies, attempts, st.integers(0, 2**40), st.integers(0, 2**32))
def test_no_attempt_begins_after_the_timeout_or_beyond_the_last(policy, attempt, scheduled_at_ms, elapsed_ms):
    due = retry_at_ms(policy, BOOM, attempt, scheduled_at_ms, scheduled_at_ms + elapsed_ms)
    if attempt >= policy.attempts_max:
        assert due is None
    if due is not None:
        assert due >= scheduled_at_ms + elapsed_ms
        assert policy.timeout_ms is None or due - scheduled_at_ms <= policy.timeout_ms


@given(st.integers(0, limits.TIMER_MS_MAX * 1000))
def test_a_span_is_rounded_up_to_whole_milliseconds(microseconds):
    value = milliseconds("a span", timedelta(microseconds=microseconds))
    assert value * 1000 - 1000 < microseconds <= value * 1000


def test_the_waits_grow_by_the_coefficient_up_to_the_longest():
    policy = RetryPolicy(
        attempts_max=9, first_interval_ms=1_000, backoff_coefficient=2.0, interval_ms_max=5_000
    )
    assert [backoff_ms(policy, attempt) for attempt in range(1, 6)] == [1_000, 2_000, 4_000, 5_000, 5_000]


def test_no_wait_stays_no_wait_however_large_the_coefficient():
    policy = RetryPolicy(attempts_max=9, first_interval_ms=0, backoff_coefficient=1e308)
    assert [backoff_ms(policy, attempt) for attempt in (1, 2, 3, 1_000)] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("failure", "types"),
    [
        (failure_of("NonRetryableError", "x"), ()),
        (failure_of("ValueError", "x", retryable=False), ()),
        (failure_of("ValueError", "x"), ("ValueError",)),
    ],
)
def test_a_failure_that_no_retry_helps_against_is_final(failure, types):
    policy = RetryPolicy(attempts_max=9, first_interval_ms=1, non_retryable_types=types)
    assert retry_at_ms(policy, failure, 1, 0, 0) is None
    assert retry_at_ms(policy, BOOM, 1, 0, 0) == (None if types else 1)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_number_of_attempts": 0}, "expected max_number_of_attempts .* but got 0"),
        ({"max_number_of_attempts": limits.RETRY_ATTEMPTS_MAX + 1}, "from 1 to 1,000,000"),
        ({"max_number_of_attempts": 2.5}, "as a whole number .* but got 2.5"),
        ({"max_number_of_attempts": True}, "as a whole number .* but got True"),
        ({"backoff_coefficient": "2"}, "finite backoff_coefficient of at least 1, but got '2'"),
        ({"backoff_coefficient": 0.99}, "finite backoff_coefficient of at least 1, but got 0.99"),
        ({"backoff_coefficient": float("nan")}, "but got nan"),
        ({"backoff_coefficient": float("inf")}, "but got inf"),
        ({"first_retry_interval": -SECOND}, "expected first_retry_interval from 0 to"),
        ({"max_retry_interval": timedelta(days=4_000)}, "expected max_retry_interval from 0 to"),
        ({"retry_timeout": -SECOND}, "expected retry_timeout from 0 to"),
        ({"non_retryable_error_types": "ValueError"}, "expected non_retryable_error_types to be a list"),
        ({"non_retryable_error_types": ["E"] * (limits.NON_RETRYABLE_TYPES_MAX + 1)}, "at most 100"),
        ({"non_retryable_error_types": [""]}, "expected a non-retryable error type of 1 to"),
        ({"first_retry_interval": 1}, "expected first_retry_interval as a timedelta, but got 1"),
        ({"max_retry_interval": 1}, "expected max_retry_interval as a timedelta, but got 1"),
        ({"non_retryable_error_types": [5]}, "of classes and names, but got 5"),
    ],
)
def test_a_policy_out_of_its_range_is_refused_and_the_value_named(fields, text):
    with pytest.raises((ValueError, TypeError), match=text):
        wf.RetryPolicy(**{"first_retry_interval": SECOND, "max_number_of_attempts": 3} | fields)


def test_a_policy_at_its_limits_is_accepted():
    policy = wf.RetryPolicy(
        first_retry_interval=timedelta(0),
        max_number_of_attempts=limits.RETRY_ATTEMPTS_MAX,
        backoff_coefficient=None,
        max_retry_interval=timedelta(milliseconds=limits.TIMER_MS_MAX),
        non_retryable_error_types=[KeyError, *["E"] * (limits.NON_RETRYABLE_TYPES_MAX - 1)],
    )
    assert policy.spec.backoff_coefficient == 1.0
    assert policy.spec.interval_ms_max == limits.TIMER_MS_MAX
    assert policy.spec.non_retryable_types[0] == "KeyError"


def retried(**fields):
    policy = {"first_retry_interval": SECOND, "max_number_of_attempts": 3} | fields

    def workflow(ctx, _value):
        return (yield ctx.call_activity("step", retry_policy=wf.RetryPolicy(**policy)))

    return workflow


def test_a_failed_attempt_is_tried_again_after_its_wait_and_not_before():
    world = World(retried(backoff_coefficient=2.0))
    world.start("workflow")
    world.fail("first")
    assert not world.calls
    world.advance(milliseconds=999)
    assert not world.calls
    world.advance(milliseconds=1)
    assert world.call().attempt == 2
    world.fail("second")
    world.advance(milliseconds=1_999)
    assert not world.calls
    world.advance(milliseconds=1)
    world.complete("at last")
    assert world.output() == "at last"
    assert world.events(ev.ActivityRetried) == [
        ev.ActivityRetried(scheduled=2, attempt=2),
        ev.ActivityRetried(scheduled=2, attempt=3),
    ]


def test_every_attempt_of_a_call_has_the_same_call_id():
    world = World(retried())
    world.start("workflow")
    first = world.call()
    world.fail()
    world.advance(seconds=1)
    assert world.call().call_id == first.call_id


def test_the_last_attempt_fails_the_call_with_its_own_failure():
    world = World(retried(max_number_of_attempts=2))
    world.start("workflow")
    world.fail("first")
    world.advance(seconds=1)
    world.fail("second", kind="KeyError")
    assert world.failure().type == "TaskFailedError"
    assert world.failure().message == "i: Activity task #2 failed: second"


def test_the_retry_timeout_ends_the_attempts():
    world = World(retried(max_number_of_attempts=100, retry_timeout=timedelta(seconds=2)))
    world.start("workflow")
    for _ in range(2):
        world.fail()
        world.advance(seconds=1)
    world.fail()
    assert world.failure().type == "TaskFailedError"
    assert len(world.events(ev.ActivityRetried)) == 2


@pytest.mark.parametrize("kind", ["NonRetryableError", "KeyError"])
def test_an_error_that_no_retry_helps_against_fails_the_call_at_once(kind):
    world = World(retried(non_retryable_error_types=[KeyError]))
    world.start("workflow")
    world.fail(kind=kind)
    assert world.kinds()[-2:] == ["ActivityFailed", "InstanceFailed"]


def test_retries_go_on_while_the_instance_is_suspended():
    world = World(retried())
    world.start("workflow")
    world.suspend()
    world.fail()
    world.advance(seconds=1)
    world.complete("done")
    assert world.status() == "SUSPENDED"
    world.resume()
    assert world.output() == "done"
