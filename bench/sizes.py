"""Every number of every workload, in one table.

`--sizes '{"name": n}'` overrides some, `--quick` takes a tenth of the counts.
"""

from typing import Any

# What --quick takes a tenth of, but never less than the second number.
COUNTS: dict[str, tuple[int, int]] = {
    "warm_up_runs": (4_000, 100),
    "w1_runs": (10_000, 200),
    "w1_window": (1_000, 50),
    "w2_runs": (200, 20),
    "w3_repeats": (3, 1),
    "w4_events": (200, 20),
    "w6_runs": (300, 30),
    "w7_live": (100_000, 1_000),
    "w7_finished": (1_000_000, 1_000),
    "w8_runs": (3_000, 50),
    "w8_one_at_a_time": (100, 10),
    "w9_idle": (100_000, 1_000),
    "w9_runs": (10_000, 200),
    "w10_queued": (100_000, 1_000),
    "w10_steppers": (8, 2),
    "w11_runs": (3_000, 50),
    "w11_one_at_a_time": (100, 10),
    "w12_filled": (100_000, 1_000),
    "w12_runs": (10_000, 200),
    "w12_waits": (200, 20),
    "scaling_runs": (20_000, 200),
}

SETTINGS: dict[str, Any] = {
    "partitions": 4,
    "bursts": 3,
    "seconds_max": 300,
    "w3_widths": [200, 1_000, 10_000],
    "w5_timers": [300, 10_000],
    "w5_seconds": 2.0,
    "w6_step_ms": 50,
    "w10_idle_seconds": 5.0,
    "w10_nap_ms": 50,
    "scaling_processes": [1, 2],
}


def sizes_of(overrides: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """The table as it is to be used. Raises ValueError for a name that is not in it."""
    unknown = sorted(overrides.keys() - COUNTS.keys() - SETTINGS.keys())
    if unknown:
        known = ", ".join(sorted({*COUNTS, *SETTINGS}))
        raise ValueError(f"expected sizes of these names: {known}; but got {', '.join(unknown)}")
    found: dict[str, Any] = {
        name: max(least, full // 10) if quick else full for name, (full, least) in COUNTS.items()
    }
    found |= SETTINGS
    if quick:
        found["w3_widths"] = [width // 10 for width in SETTINGS["w3_widths"]]
        found["w5_timers"] = [timers // 10 for timers in SETTINGS["w5_timers"]]
        found["w10_idle_seconds"] = SETTINGS["w10_idle_seconds"] / 10
        found["bursts"] = 1
    return found | overrides
