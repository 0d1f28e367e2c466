"""What must hold of the events of one run, whoever wrote them. Knows nothing of the engine that did."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

TERMINAL = {"InstanceCompleted", "InstanceFailed", "InstanceTerminated", "InstanceContinuedAsNew"}

Body = dict[str, Any]
Run = tuple[str, str]


@dataclass(frozen=True)
class Recorded:
    """An event of history."""

    partition: int
    kind: str
    body: Body

    @property
    def sequence(self) -> int:
        return int(self.body["sequence"])


def check_run(run: Run, events: list[Recorded]) -> None:
    assert [event.sequence for event in events] == list(range(1, len(events) + 1)), f"{run} is not dense"
    assert events[0].kind == "InstanceStarted", f"{run} begins with {events[0].kind}"
    assert len({event.partition for event in events}) == 1, f"{run} is in several partitions"
    terminal = [event.sequence for event in events if event.kind in TERMINAL]
    assert terminal in ([], [len(events)]), f"{run} ends at {terminal} of {len(events)}"
    for earlier, later in itertools.pairwise(events):
        assert earlier.body["recorded_at_ms"] <= later.body["recorded_at_ms"], f"{run}: time goes back"
        assert earlier.body["inbox_offset"] <= later.body["inbox_offset"], f"{run}: inbox goes back"
    check_calls(run, events, "Activity")
    check_calls(run, events, "Child")
    check_timers(run, events)


def check_calls(run: Run, events: list[Recorded], noun: str) -> None:
    open_calls: dict[int, int] = {}
    for event in events:
        if event.kind == f"{noun}Scheduled":
            open_calls[event.sequence] = 1
            continue
        if event.kind not in {f"{noun}{end}" for end in ("Completed", "Failed", "AttemptFailed", "Retried")}:
            continue
        scheduled, attempt = event.body["scheduled"], event.body["attempt"]
        assert scheduled in open_calls, (
            f"{run}: {event.kind} {event.sequence} is of no open call, {scheduled}"
        )
        assert attempt <= open_calls[scheduled] + 1, (
            f"{run}: attempt {attempt} of call {scheduled} came early"
        )
        open_calls[scheduled] = max(open_calls[scheduled], attempt)
        if event.kind in (f"{noun}Completed", f"{noun}Failed"):
            del open_calls[scheduled]


def check_timers(run: Run, events: list[Recorded]) -> None:
    due: dict[int, int] = {}
    # What fires in a suspension is observed at its end, in order: the code may have been served before, and
    # cancels then.
    held: set[int] = set()
    is_suspended = False
    for event in events:
        if event.kind in ("InstanceSuspended", "InstanceResumed"):
            is_suspended = event.kind == "InstanceSuspended"
        if event.kind == "TimerCreated":
            due[event.sequence] = event.body["due_at_ms"]
        elif event.kind == "InstanceStarted" and event.body["start_at_ms"] is not None:
            due[event.sequence] = event.body["start_at_ms"]
        elif event.kind == "TimerCancelled":
            timer = event.body["timer"]
            is_open = due.pop(timer, None) is not None
            assert is_open or timer in held, f"{run}: timer {timer} ends twice, or was none"
            held.discard(timer)
        elif event.kind == "TimerFired":
            if is_suspended:
                held.add(event.body["timer"])
            due_at_ms = due.pop(event.body["timer"], None)
            assert due_at_ms is not None, f"{run}: timer {event.body['timer']} ended before, or was none"
            assert event.body["recorded_at_ms"] >= due_at_ms, (
                f"{run}: timer {event.body['timer']} fired early"
            )
