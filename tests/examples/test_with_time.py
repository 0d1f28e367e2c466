"""What of the examples takes days or for ever, in no time: with the driver's clock."""

import pytest

from engine.model import events as ev
from tests.core.driver import World
from tests.examples.harness import all_examples


@pytest.fixture
def world():
    world = World()
    world.registry = all_examples()
    return world


@pytest.fixture
def answers(world):
    """What the monitored target answers, round by round."""
    left = []
    world.registry.add_activity(lambda _, status: left.pop(0), "scripted", "thread")
    world.registry.activities["check_status"] = world.registry.activities["scripted"]
    return left


def test_a_request_that_nobody_answers_for_seven_days_times_out(world):
    world.start("request_escalation", {"id": "r", "amount": 5000})
    world.advance(days=6.99)
    assert world.status() == "RUNNING"
    world.advance(days=0.01)
    world.settle()
    assert [event.name for event in world.events(ev.ActivityScheduled)] == ["handle_timeout_activity"]
    assert world.status() == "COMPLETED"


def test_an_order_waits_a_whole_day_for_its_approval(world):
    world.start("purchase_order_workflow", {"cost": 1000, "product": "desk", "quantity": 1})
    world.settle()
    world.advance(hours=23.9)
    world.raise_event("approval_received", {"approver": "Jane Doe"})
    world.settle()
    assert world.output() == "Approved by 'Jane Doe'"


def test_a_monitor_looks_more_often_at_what_is_ill_and_alerts_once(world, answers):
    answers += ["healthy", "unhealthy", "unhealthy", "healthy"]
    world.start("status_monitor_workflow", {"target": "web", "is_healthy": True})
    sleeps, alerts = [], []
    for _ in range(4):
        world.settle()
        (timer,) = world.events(ev.TimerCreated)
        alerts += [each for each in world.events(ev.ActivityScheduled) if each.name == "send_alert"]
        sleeps.append((timer.due_at_ms - world.now_ms) // 1000)
        world.advance(seconds=sleeps[-1])
    assert sleeps == [60, 5, 5, 60]
    assert len(alerts) == 1
    assert len(world.runs["i"]) == 5


def test_a_monitor_has_a_short_history_however_long_it_runs(world, answers):
    answers += ["healthy"] * 200
    world.start("status_monitor_workflow", {"target": "web", "is_healthy": True})
    for _ in range(100):
        world.settle()
        world.advance(seconds=60)
    assert len(world.runs["i"]) == 101
    assert max(len(history) for history in world.runs["i"]) == 6
