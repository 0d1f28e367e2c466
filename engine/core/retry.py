"""When a failed call is tried again: a function of its policy and what is recorded, nothing else."""

from engine.model.failure import Failure, RetryPolicy

NON_RETRYABLE_TYPE = "NonRetryableError"


def retry_at_ms(
    policy: RetryPolicy | None, failure: Failure, attempt: int, scheduled_at_ms: int, now_ms: int
) -> int | None:
    """When attempt `attempt` + 1 begins, or None when the call has failed for good."""
    if policy is None or attempt >= policy.attempts_max:
        return None
    if (
        not failure.retryable
        or failure.type == NON_RETRYABLE_TYPE
        or failure.type in policy.non_retryable_types
    ):
        return None
    due_at_ms = now_ms + backoff_ms(policy, attempt)
    if policy.timeout_ms is not None and due_at_ms - scheduled_at_ms > policy.timeout_ms:
        return None
    return due_at_ms


def backoff_ms(policy: RetryPolicy, attempt: int) -> int:
    """The wait after attempt `attempt`, which counts from 1."""
    if not policy.first_interval_ms:
        return 0
    ceiling = policy.interval_ms_max if policy.interval_ms_max is not None else 366 * 24 * 3600 * 1000
    try:
        wait = policy.first_interval_ms * policy.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        return ceiling
    return int(min(wait, ceiling))
