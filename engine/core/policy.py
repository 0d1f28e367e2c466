"""The retry policy as authors write it."""

from datetime import timedelta

from engine.core import limits
from engine.model import failure


class RetryPolicy:
    """How often, and after what waits, a failed activity or child workflow is tried again.

    Args:
        first_retry_interval: The wait after the first failure, at least a millisecond.
        max_number_of_attempts: All attempts, the first included; at least 1.
        backoff_coefficient: Each wait is the one before times this; at least 1.
        max_retry_interval: No wait is longer than this.
        retry_timeout: No attempt begins later than this after the call.
        non_retryable_error_types: Names of exception classes that no retry helps against.

    Raises:
        ValueError: A value is out of its range; the text names it.
    """

    def __init__(  # noqa: PLR0913 -- Dapr's signature, all by keyword
        self,
        *,
        first_retry_interval: timedelta,
        max_number_of_attempts: int,
        backoff_coefficient: float | None = 1.0,
        max_retry_interval: timedelta | None = None,
        retry_timeout: timedelta | None = None,
        non_retryable_error_types: tuple[str, ...] | list[str] = (),
    ) -> None:
        coefficient = 1.0 if backoff_coefficient is None else float(backoff_coefficient)
        if not 1 <= max_number_of_attempts <= limits.RETRY_ATTEMPTS_MAX:
            message = (
                f"expected max_number_of_attempts from 1 to {limits.RETRY_ATTEMPTS_MAX:,}, "
                f"but got {max_number_of_attempts!r}"
            )
            raise ValueError(message)
        if not coefficient >= 1:
            message = f"expected backoff_coefficient of at least 1, but got {backoff_coefficient!r}"
            raise ValueError(message)
        self.spec = failure.RetryPolicy(
            attempts_max=max_number_of_attempts,
            first_interval_ms=milliseconds("first_retry_interval", first_retry_interval),
            backoff_coefficient=coefficient,
            interval_ms_max=_optional("max_retry_interval", max_retry_interval),
            timeout_ms=_optional("retry_timeout", retry_timeout),
            non_retryable_types=tuple(non_retryable_error_types),
        )


def milliseconds(what: str, span: timedelta) -> int:
    """`span` in whole ms, rounded up. Raises ValueError where it is negative or over the bound of timers."""
    value = -(span // timedelta(milliseconds=-1))
    if not 0 <= value <= limits.TIMER_MS_MAX:
        message = f"expected {what} from 0 to {limits.TIMER_MS_MAX // 86_400_000:,} days, but got {span}"
        raise ValueError(message)
    return value


def _optional(what: str, span: timedelta | None) -> int | None:
    return None if span is None else milliseconds(what, span)
