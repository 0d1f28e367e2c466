"""Every bound of the engine's values, with its unit. At each of them stands a clear error."""

from functools import lru_cache

from engine.errors import LimitExceededError

PAYLOAD_BYTES_MAX = 512 * 1024
PAYLOAD_BYTES_WARNED = 128 * 1024
RECORD_BYTES_MAX = 900_000
INSTANCE_ID_BYTES_MAX = 128
NAME_BYTES_MAX = 256
OPEN_ACTIVITIES_MAX = 10_000
OPEN_CHILDREN_MAX = 1_000
OPEN_TIMERS_MAX = 2_000
UNCONSUMED_EVENTS_MAX = 10_000
UNCONSUMED_BYTES_MAX = 4 * 1024 * 1024
DEFERRED_INPUTS_MAX = 10_000
OPEN_WAITS_MAX = 10_000
TURN_EVENTS_MAX = 20_000
TURN_STEPS_MAX = 100_000
TURN_BYTES_MAX = 32 * 1024 * 1024
HISTORY_EVENTS_MAX = 51_200
HISTORY_BYTES_MAX = 50 * 1024 * 1024
HISTORY_EVENTS_WARNED = 10_000
HISTORY_BYTES_WARNED = 8 * 1024 * 1024
DEPTH_MAX = 32
TIMER_MS_MAX = 10 * 366 * 24 * 3600 * 1000
CUSTOM_STATUS_BYTES_MAX = 16 * 1024
REASON_BYTES_MAX = 4 * 1024
CONTINUATIONS_PER_TURN_MAX = 20
RETRY_ATTEMPTS_MAX = 1_000_000
NON_RETRYABLE_TYPES_MAX = 100
NESTED_TASKS_MAX = 64


def check(what: str, actual: int, limit: int, remedy: str) -> None:
    """Raises LimitExceededError where `actual` is over `limit`."""
    if actual > limit:
        raise LimitExceededError(what, actual, limit, remedy)


def check_payload(data: bytes, whose: str) -> None:
    """Raises LimitExceededError for a payload that no record may carry."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise LimitExceededError(
            f"the payload of {whose} (bytes)",
            len(data),
            PAYLOAD_BYTES_MAX,
            "store large values elsewhere and pass a reference",
        )


def invalid_instance_id(instance_id: object) -> str | None:
    """Why `instance_id` can't be used, or None. Control characters would break keys and terminals."""
    if not isinstance(instance_id, str):
        return f"expected an instance id as text, but got {instance_id!r:.100}"
    size = len(instance_id.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= INSTANCE_ID_BYTES_MAX:
        return f"expected an instance id of 1 to {INSTANCE_ID_BYTES_MAX} bytes, but it has {size}"
    if instance_id[0] in "~.":
        return f"expected an instance id that does not begin with '~' or '.', but got {instance_id!r}"
    if "/" in instance_id or not instance_id.isprintable():
        return f"expected an instance id without '/' and control characters, but got {instance_id!r}"
    return None


@lru_cache(4096)
def invalid_name(what: str, name: str) -> str | None:
    """Why `name` can't name a workflow, activity or event, or None."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= NAME_BYTES_MAX:
        return f"expected {what} of 1 to {NAME_BYTES_MAX} bytes, but it has {size}"
    if not name.isprintable():
        return f"expected {what} without control characters, but got {name!r}"
    return None
