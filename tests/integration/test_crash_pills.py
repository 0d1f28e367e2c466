"""User code that ends its worker: its instance stalls with the reason, and its neighbours flow."""

from __future__ import annotations

import pytest

from tests.integration.harness import AppUnderTest

PILLS = "tests.integration.pills:app"
MENDED = "tests.integration.pills_mended:app"


def stalled(subject: AppUnderTest, instance_id: str) -> str:
    """Waits for the instance's stall; its reason."""
    audit = subject.auditor()
    (event,) = audit.read_events(instance_id, "InstanceStalled")
    return event.body["reason"]


@pytest.mark.parametrize("workflow", ["pill", "late_pill"])
def test_a_workflow_that_ends_its_worker_is_stalled_and_goes_on_when_mended(
    subject: AppUnderTest, workflow: str
) -> None:
    supervisor = subject.worker(app=PILLS, processes=2)
    supervisor.wait_ready()
    (instance_id,) = subject.start(workflow)
    (neighbour,) = subject.start("hello", 7)

    assert stalled(subject, instance_id) == "WorkerCrashed"
    assert subject.auditor().read_outcomes([neighbour]) == {neighbour: 7}
    supervisor.stop()

    # The same code is not tried again; other code is.
    again = subject.worker(app=PILLS, processes=2)
    again.wait_ready()
    (after,) = subject.start("hello", 8, name="after")
    assert subject.auditor().read_outcomes([after]) == {after: 8}
    again.stop()
    mended = subject.worker(app=MENDED, processes=2)
    mended.wait_ready()
    audit = subject.auditor()
    assert audit.read_outcomes([instance_id]) == {instance_id: "mended"}
    mended.stop()
    audit.read_all()
    audit.check(started=[instance_id, neighbour, after])


def test_an_activity_that_ends_its_worker_fails_and_others_go_on(subject: AppUnderTest) -> None:
    subject.worker(app=PILLS, processes=2).wait_ready()
    (bad,) = subject.start("bad_activity", "exits")
    (good,) = subject.start("hello", 1)
    audit = subject.auditor()

    assert audit.read_outcomes([good]) == {good: 1}
    (failed,) = audit.read_events(bad, "InstanceFailed")
    assert failed.body["failure"]["type"] == "TaskFailedError"


@pytest.mark.parametrize(
    ("activity", "error"), [("interrupts", "KeyboardInterrupt"), ("cancels", "CancelledError")]
)
def test_whatever_an_activity_raises_is_its_failure(subject: AppUnderTest, activity: str, error: str) -> None:
    subject.worker(app=PILLS).wait_ready()
    (bad,) = subject.start("bad_activity", activity)
    (failed,) = subject.auditor().read_events(bad, "ActivityFailed")
    assert failed.body["failure"]["type"] == error


def test_a_header_without_a_value_is_no_header(subject: AppUnderTest) -> None:
    subject.worker(app=PILLS).wait_ready()
    start = {"type": "StartInstance", "instance_id": "odd", "workflow": "hello", "input": 5}
    subject.publish(start, headers=[("content-type", None), ("x", None)])
    subject.flush()
    assert subject.auditor().read_outcomes(["odd"]) == {"odd": 5}
