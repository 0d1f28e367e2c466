"""The retry policy as authors write it."""

import math
from collections.abc import Sequence
from datetime import timedelta

from engine.core import limits
from engine.model import failure

TYPES_MAX = 100


class RetryPolicy:
    """How often, and after what waits, a failed activity or child workflow is tried again.

    Args:
        first_retry_interval: The wait after the first failure.
        max_number_of_attempts: All attempts, the first included; at least 1.
        backoff_coefficient: Each wait is the one before times this; at least 1.
        max_retry_interval: No wait is longer than this.
        retry_timeout: No attempt begins later than this after the call.
        non_retryable_error_types: Exception classes that no retry helps against, or their names.

    Raises:
        ValueError: A value is out of its range; the text names it.
        TypeError: A span of time is no timedelta, or an error type neither a class nor a name.

    """

    def __init__(
        self,
        *,
        first_retry_interval: timedelta,
        max_number_of_attempts: int,
        backoff_coefficient: float | None = 1.0,
        max_retry_interval: timedelta | None = None,
        retry_timeout: timedelta | None = None,
        non_retryable_error_types: Sequence[str | type[BaseException]] = (),
    ) -> None:
        coefficient = 1.0 if backoff_coefficient is None else backoff_coefficient
        is_count = type(max_number_of_attempts) is int
        if not is_count or not 1 <= max_number_of_attempts <= limits.RETRY_ATTEMPTS_MAX:
            message = (
                f"expected max_number_of_attempts as a whole number from 1 to {limits.RETRY_ATTEMPTS_MAX:,}, "
                f"but got {max_number_of_attempts!r}"
            )
            raise ValueError(message)
        if type(coefficient) not in (int, float) or not 1 <= coefficient < math.inf:
            message = f"expected a finite backoff_coefficient of at least 1, but got {backoff_coefficient!r}"
            raise ValueError(message)
        types = _type_names(non_retryable_error_types)
        if len(types) > TYPES_MAX or any(len(each.encode()) > limits.NAME_BYTES_MAX for each in types):
            message = (
                f"expected at most {TYPES_MAX} non_retryable_error_types of {limits.NAME_BYTES_MAX} bytes "
                f"each, but got {len(types)}"
            )
            raise ValueError(message)
        self.spec = failure.RetryPolicy(
            attempts_max=max_number_of_attempts,
            first_interval_ms=milliseconds("first_retry_interval", first_retry_interval),
            backoff_coefficient=float(coefficient),
            interval_ms_max=_optional("max_retry_interval", max_retry_interval),
            timeout_ms=_optional("retry_timeout", retry_timeout),
            non_retryable_types=types,
        )


def milliseconds(what: str, span: timedelta) -> int:
    """`span` in whole ms, rounded up.

    Raises TypeError where it is no timedelta, ValueError where it is negative or over the bound of timers.
    """
    if not isinstance(span, timedelta):
        message = f"expected {what} as a timedelta, but got {span!r:.100}"
        raise TypeError(message)
    value = -(span // timedelta(milliseconds=-1))
    if not 0 <= value <= limits.TIMER_MS_MAX:
        message = f"expected {what} from 0 to {limits.TIMER_MS_MAX // 86_400_000:,} days, but got {span}"
        raise ValueError(message)
    return value


def _type_names(kinds: Sequence[str | type[BaseException]]) -> tuple[str, ...]:
    # The policy is recorded with every call: what can't be, or not within bounds, is refused here.
    if isinstance(kinds, str) or len(kinds) > limits.NON_RETRYABLE_TYPES_MAX:
        message = (
            f"expected non_retryable_error_types to be a list of at most {limits.NON_RETRYABLE_TYPES_MAX}, "
            f"but got {kinds!r:.100}"
        )
        raise ValueError(message)
    names = tuple(kind.__name__ if isinstance(kind, type) else kind for kind in kinds)
    for name in names:
        if not isinstance(name, str):
            message = f"expected non_retryable_error_types of classes and names, but got {name!r:.100}"
            raise TypeError(message)
        problem = limits.invalid_name("a non-retryable error type", name)
        if problem is not None:
            raise ValueError(problem)
    return names


def _optional(what: str, span: timedelta | None) -> int | None:
    return None if span is None else milliseconds(what, span)
