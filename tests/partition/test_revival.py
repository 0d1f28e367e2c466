"""Stalled runs have another chance with new code, also where the owner had to be careful first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from engine.codec import avro
from engine.core import limits
from engine.core.tasks import when_all, when_any
from engine.model import commands as cm
from engine.model import events as ev
from engine.partition.careful import LIVES_BEFORE_CARE
from engine.testing.programs import Code
from engine.testing.world import Plan, World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from engine.core.context import WorkflowContext

STEPS_MAX = 20_000
EVENTS = ("go", "go on")


def patient(ctx: WorkflowContext) -> Generator[Any, Any, None]:
    for name in EVENTS:
        yield ctx.wait_for_external_event(name)


def hasty(ctx: WorkflowContext) -> Generator[Any, Any, None]:
    yield ctx.call_activity("nothing of the kind")


def busy(ctx: WorkflowContext) -> Generator[Any, Any, list[str]]:
    """Both its call and its timer have their outcome while it is stalled."""
    tasks = [ctx.call_activity("count", input=1), ctx.create_timer(timedelta(seconds=3))]
    first = yield when_any(tasks)
    yield when_all(tasks)
    return ["call" if first is tasks[0] else "timer", tasks[0].get_result()]


class Story:
    """One instance, `a`, whose code changes from life to life."""

    def __init__(self) -> None:
        self.world = World(Plan(seed=1, clients=0, is_quiet=True))
        self.calls = 0

    def count_call(self, _ctx: Any, value: int) -> int:
        self.calls += 1
        return value + 1

    def live_with(self, workflow: Callable[..., Any], build: int, lives: int = 1) -> None:
        """Everything is killed, and begins anew with this code; and again, before a minute is over."""
        code = Code(build)
        code.registry.workflows.pop("v", None)
        code.registry.add_workflow(workflow, "v")
        code.registry.add_activity(self.count_call, "count", "thread")
        self.world.codes = [code]
        for _ in range(lives):
            for process in [each for each in self.world.processes if each is not None]:
                self.world.crash(process)
            self.until(self.is_live)

    def send(self, *commands: cm.PublicCommand) -> None:
        for command in commands:
            self.world.broker.publish(0, b"", avro.encode_command(command), ())

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(STEPS_MAX):
            self.world.view.catch_up()
            if condition():
                return
            self.world.step()
        pytest.fail("it does not come to that")

    def is_live(self) -> bool:
        living = [each for each in self.world.processes if each is not None]
        return bool(living) and all(each.is_live for each in living) and self.is_drained()

    def is_drained(self) -> bool:
        return all(self.world.is_drained(partition) for partition in self.partitions)

    @property
    def partitions(self) -> range:
        return range(self.world.broker.identity.partitions)

    def has(self, kind: type) -> bool:
        return self.count(kind) > 0

    def count(self, kind: type) -> int:
        records = [each for history in self.world.broker.history for each in history.records]
        events = [avro.decode_event(r.value)[1].event for r in records if r.key.startswith(b"a|") and r.value]
        return sum(type(event) is kind for event in events)

    def checkpoints(self, field: str) -> set[object]:
        return {getattr(self.world.view.checkpoints[partition], field) for partition in self.partitions}


@pytest.fixture
def stalled() -> Story:
    story = Story()
    story.live_with(patient, build=1)
    story.send(cm.StartInstance(instance_id="a", workflow="v"))
    story.until(lambda: story.has(ev.InstanceStarted))
    story.live_with(hasty, build=2)
    story.send(*(cm.RaiseEvent(instance_id="a", name=name) for name in EVENTS))
    story.until(lambda: story.has(ev.InstanceStalled) and story.is_drained())
    story.until(lambda: story.checkpoints("lives") == {0})
    return story


def test_the_mended_code_takes_up_at_its_first_claim_what_was_deferred(stalled: Story):
    stalled.live_with(patient, build=3)
    assert stalled.has(ev.InstanceCompleted)


def test_an_owner_that_had_to_be_careful_does_so_when_its_lives_are_forgiven(stalled: Story):
    stalled.live_with(hasty, build=2, lives=LIVES_BEFORE_CARE)
    stalled.live_with(patient, build=3)
    assert max(stalled.checkpoints("lives")) >= LIVES_BEFORE_CARE
    assert not stalled.has(ev.InstanceCompleted)
    assert "build-3" not in stalled.checkpoints("build"), "the next claim would not know that it is new"

    stalled.until(lambda: stalled.checkpoints("lives") == {0})
    stalled.until(lambda: stalled.has(ev.InstanceCompleted))
    assert stalled.checkpoints("build") == {"build-3"}


def test_what_a_stalled_run_asked_for_is_done_once_however_often_it_is_claimed():
    story = Story()
    story.live_with(busy, build=1)
    story.send(cm.StartInstance(instance_id="a", workflow="v"))
    story.until(lambda: story.has(ev.ActivityScheduled))
    story.live_with(hasty, build=2)
    story.until(lambda: story.count(ev.InputDeferred) == 2)
    story.until(lambda: story.checkpoints("lives") == {0})
    calls = story.calls
    assert calls

    story.live_with(hasty, build=2, lives=2)
    story.until(lambda: story.checkpoints("lives") == {0})
    assert (story.count(ev.InputDeferred), story.calls) == (2, calls)

    story.live_with(busy, build=3)
    story.until(lambda: story.has(ev.InstanceCompleted))
    assert story.calls == calls


def test_a_run_that_can_keep_no_outcome_asks_for_none(monkeypatch: pytest.MonkeyPatch):
    story = Story()
    story.live_with(busy, build=1)
    story.send(cm.StartInstance(instance_id="a", workflow="v"))
    story.until(lambda: story.has(ev.ActivityScheduled))
    monkeypatch.setattr(limits, "HISTORY_BYTES_MAX", 1)
    story.until(lambda: story.has(ev.InstanceStalled))
    story.until(lambda: story.checkpoints("lives") == {0})
    calls = story.calls

    story.live_with(busy, build=1, lives=2)
    story.until(lambda: story.checkpoints("lives") == {0})
    assert (story.count(ev.InputDeferred), story.calls) == (0, calls)
