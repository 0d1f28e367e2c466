"""How long finished runs are kept, by how they ended. Says nothing of when: must never look at a clock."""

import re

import msgspec

from engine.model.state import Phase

DURATION_MS_MAX = 100 * 365 * 24 * 3_600_000
# Go's units, in nanoseconds, and a day of 24 hours.
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_PART = r"(\d{1,12})(?:\.(\d{1,9}))?(ns|us|µs|ms|s|m|h|d)"
_DURATION = re.compile(f"(?:{_PART})+")


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Dapr's `stateRetentionPolicy`: how long a run is kept behind its end, for ever where nothing is said.

    What is said of one way to end beats `any_terminal_ms`.
    """

    any_terminal_ms: int | None = None
    completed_ms: int | None = None
    failed_ms: int | None = None
    terminated_ms: int | None = None

    def kept_ms(self) -> dict[Phase, int]:
        """How long a run that ended so is kept; not named here is what is kept for ever."""
        told = {
            Phase.COMPLETED: self.completed_ms,
            Phase.FAILED: self.failed_ms,
            Phase.TERMINATED: self.terminated_ms,
        }
        kept = {phase: self.any_terminal_ms if ms is None else ms for phase, ms in told.items()}
        return {phase: ms for phase, ms in kept.items() if ms is not None}


def parse_duration_ms(text: str) -> int:
    """Go's form of a duration (`90s`, `1h30m`, `0s`), or with days (`30d`). Raises ValueError.

    A part of a millisecond counts as a whole one.
    """
    if text != "0" and _DURATION.fullmatch(text) is None:
        message = f"expected a duration such as 90s, 1h30m or 30d, but it is {text!r}"
        raise ValueError(message)
    total_ns = 0
    for whole, fraction, unit in re.findall(_PART, text):
        unit_ns = _UNITS_NS[unit]
        total_ns += int(whole) * unit_ns + int(fraction or 0) * unit_ns // 10 ** len(fraction)
    duration_ms = -(-total_ns // 1_000_000)
    if duration_ms > DURATION_MS_MAX:
        message = (
            f"expected a duration of at most 100 years ({DURATION_MS_MAX // 3_600_000}h), but it is {text!r}"
        )
        raise ValueError(message)
    return duration_ms
