"""Whether a worker lives and whether it is ready, each with its reason. Only looks; asks nobody.

Live: the owners' thread moves. A worker that waits for its Kafka lives too: a restart would not help it.
Ready: it is a member of its group, what it is assigned is live or will soon be, and none of it is damaged.
A member without a partition is ready: it stands by.
"""

from engine.node.worker import Worker
from engine.telemetry.health import Check, Health

CLAIMING_SECONDS_MAX = 60.0
# The watchdog looks once a second, and ends a process that stood still too long by itself.
STOOD_GRACE_SECONDS = 5.0


def live(worker: Worker | None) -> Health:
    """Whether the process is worth keeping."""
    if worker is None:
        return Health([Check("owners", is_good=True, detail="not begun yet")])
    stood_s = worker.stood_ms / 1000
    bound_s = worker.settings.turn_seconds_max + STOOD_GRACE_SECONDS
    text = f"the owners' thread was seen to move {stood_s:.1f} s ago; up to {bound_s:.0f} s is good"
    return Health([Check("owners", stood_s <= bound_s, text)])


def ready(worker: Worker | None) -> Health:
    """Whether it does its part of the work."""
    if worker is None:
        text = "waits for Kafka, or for its topics"
        return Health([Check("membership", is_good=False, detail=text)])
    return Health([_membership(worker), _claims(worker), _damage(worker)])


def _membership(worker: Worker) -> Check:
    if worker.is_stopping:
        return Check("membership", is_good=False, detail="stops")
    if not worker.is_member:
        return Check("membership", is_good=False, detail="is no member of its group")
    count = len(worker.loop.owners)
    return Check("membership", is_good=True, detail=f"member of its group, with {count} partitions")


def _claims(worker: Worker) -> Check:
    now_ms = worker.clock.monotonic_ms()
    since = {p: (now_ms - at_ms) / 1000 for p, at_ms in list(worker.loop.claiming_since_ms.items())}
    late = sorted(partition for partition, seconds in since.items() if seconds > CLAIMING_SECONDS_MAX)
    if late:
        text = f"partitions {_some(late)} are not live after {CLAIMING_SECONDS_MAX:.0f} s"
        return Check("claims", is_good=False, detail=text)
    return Check("claims", is_good=True, detail=f"{len(since)} partitions are being claimed")


def _damage(worker: Worker) -> Check:
    damaged = sorted(worker.loop.damaged)
    if damaged:
        return Check("damage", is_good=False, detail=f"partitions {_some(damaged)} are given up; see the log")
    return Check("damage", is_good=True, detail="none")


def _some(partitions: list[int]) -> str:
    more = len(partitions) - 10
    return ", ".join(map(str, partitions[:10])) + (f" and {more} more" if more > 0 else "")
