"""The limits in numbers, as users are told of them: one that moved would break a promise."""

from engine.core import limits
from engine.model import failure


def test_the_limits_are_those_that_users_are_told() -> None:
    assert {name: value for name, value in vars(limits).items() if name.endswith(("_MAX", "_WARNED"))} == {
        "PAYLOAD_BYTES_MAX": 524_288,
        "PAYLOAD_BYTES_WARNED": 131_072,
        "RECORD_BYTES_MAX": 900_000,
        "INSTANCE_ID_BYTES_MAX": 128,
        "NAME_BYTES_MAX": 256,
        "OPEN_ACTIVITIES_MAX": 10_000,
        "OPEN_CHILDREN_MAX": 1_000,
        "OPEN_TIMERS_MAX": 2_000,
        "UNCONSUMED_EVENTS_MAX": 10_000,
        "UNCONSUMED_BYTES_MAX": 4_194_304,
        "DEFERRED_INPUTS_MAX": 10_000,
        "OPEN_WAITS_MAX": 10_000,
        "TURN_EVENTS_MAX": 20_000,
        "TURN_STEPS_MAX": 100_000,
        "TURN_BYTES_MAX": 33_554_432,
        "HISTORY_EVENTS_MAX": 51_200,
        "HISTORY_EVENTS_WARNED": 10_000,
        "HISTORY_BYTES_MAX": 52_428_800,
        "HISTORY_BYTES_WARNED": 8_388_608,
        "DEPTH_MAX": 32,
        "TIMER_MS_MAX": 316_224_000_000,
        "CUSTOM_STATUS_BYTES_MAX": 16_384,
        "REASON_BYTES_MAX": 4_096,
        "CONTINUATIONS_PER_TURN_MAX": 20,
        "RETRY_ATTEMPTS_MAX": 1_000_000,
        "NON_RETRYABLE_TYPES_MAX": 100,
        "NESTED_TASKS_MAX": 64,
    }
    assert {name: value for name, value in vars(failure).items() if name.endswith("_MAX")} == {
        "MESSAGE_BYTES_MAX": 4_096,
        "STACK_BYTES_MAX": 16_384,
    }
