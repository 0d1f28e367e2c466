"""Threads for activities: few awake for short calls, and none that waits behind one that takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec
import pytest

from engine.model.effects import RunActivity
from engine.node.fairness import FairQueue
from engine.node.threads import SHORT_NS, ActivityThreads

PATIENCE_S = 30


def call(number: int, name: str = "work") -> RunActivity:
    return RunActivity(
        instance_id=f"i{number}",
        run_id="r",
        workflow="w",
        scheduled=number,
        call_id=b"c",
        name=name,
        input=None,
        attempt=1,
    )


class Desk:
    """Serves calls: notes who served what, and lets those that shall wait do so."""

    def __init__(self) -> None:
        self.gates: dict[int, threading.Event] = {}
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.servers: set[int] = set()

    def serve(self, served: RunActivity, partition: int) -> None:
        self.begun.append(served.scheduled)
        self.servers.add(threading.get_ident())
        gate = self.gates.get(served.scheduled)
        if gate is not None:
            assert gate.wait(PATIENCE_S)
        self.ended.append(served.scheduled)


def wait_until(met: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, "it never came to be"
        meanwhile()
        threading.Event().wait(0.001)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def known_as_short(threads: ActivityThreads, desk: Desk) -> None:
    """A loaded machine may need several tries to show that nothing is quick."""

    def again() -> None:
        threads.run(call(0), 0)
        threads.wake()

    wait_until(lambda: threads._typical_ns.get("work", SHORT_NS) < SHORT_NS, again)
    wait_until(lambda: not threads.waiting and not threads._busy)
    desk.begun.clear()
    desk.ended.clear()
    desk.servers.clear()


def test_nothing_begins_before_the_turns_are_over(desk):
    threads = ActivityThreads(desk.serve, 4)
    threads.run(call(1), 0)
    threads.run(call(2), 0)
    assert threads.waiting == 2
    assert desk.begun == []
    threads.wake()
    wait_until(lambda: sorted(desk.ended) == [1, 2])


def test_calls_that_nobody_knows_yet_run_beside_each_other(desk):
    threads = ActivityThreads(desk.serve, 8)
    desk.gates = {number: threading.Event() for number in range(8)}
    for number in range(8):
        threads.run(call(number), 0)
    threads.wake()
    wait_until(lambda: sorted(desk.begun) == list(range(8)))
    for gate in desk.gates.values():
        gate.set()
    wait_until(lambda: sorted(desk.ended) == list(range(8)))


def test_there_are_never_more_threads_than_allowed_and_all_calls_are_served(desk):
    threads = ActivityThreads(desk.serve, 3)
    desk.gates = {number: threading.Event() for number in range(10)}
    for number in range(10):
        threads.run(call(number), 0)
    threads.wake()
    wait_until(lambda: len(desk.begun) == 3)
    assert threads.waiting == 7
    for gate in desk.gates.values():
        gate.set()
    wait_until(lambda: len(desk.ended) == 10, threads.wake)
    assert len(desk.servers) == 3


def test_short_calls_share_a_thread(desk):
    threads = ActivityThreads(desk.serve, 64)
    known_as_short(threads, desk)
    for number in range(1, 201):
        threads.run(call(number), 0)
    threads.wake()
    wait_until(lambda: len(desk.ended) == 200)
    assert desk.ended == list(range(1, 201))
    assert len(desk.servers) == 1


def test_a_call_that_takes_unexpectedly_long_holds_up_no_other(desk):
    threads = ActivityThreads(desk.serve, 64)
    known_as_short(threads, desk)
    desk.gates = {1: threading.Event(), 2: threading.Event()}
    for number in range(1, 6):
        threads.run(call(number), 0)
    threads.wake()
    wait_until(lambda: sorted(desk.ended) == [3, 4, 5], threads.wake)
    for gate in desk.gates.values():
        gate.set()
    wait_until(lambda: len(desk.ended) == 5)


def test_after_closing_nothing_is_taken_up(desk):
    threads = ActivityThreads(desk.serve, 1)
    desk.gates = {1: threading.Event()}
    threads.run(call(1), 0)
    threads.run(call(2), 0)
    threads.wake()
    wait_until(lambda: desk.begun == [1])
    threads.close()
    desk.gates[1].set()
    wait_until(lambda: desk.ended == [1])
    wait_until(lambda: not desk.servers & {thread.ident for thread in threading.enumerate()})
    assert desk.begun == [1]


def test_instances_take_turns_however_much_one_of_them_asks_for():
    queue = FairQueue()
    greedy = [msgspec.structs.replace(call(number), instance_id="greedy") for number in range(1_000)]
    for each in (*greedy, call(1_001), call(1_002), call(1_001)):
        queue.put((each, 0))
    assert len(queue) == 1_003

    order = [queue.take()[0] for _ in range(1_003)]
    assert [each.scheduled for each in order[:6]] == [0, 1_001, 1_002, 1, 1_001, 2]
    assert [each for each in order if each.instance_id == "greedy"] == greedy
    assert (queue.take(), len(queue)) == (None, 0)


def test_one_that_waits_for_all_threads_waits_for_one_call_only(desk):
    threads = ActivityThreads(desk.serve, 1)
    desk.gates[0] = threading.Event()
    for number in range(100):
        threads.run(msgspec.structs.replace(call(number), instance_id="greedy"), 0)
    threads.wake()
    wait_until(lambda: desk.begun == [0])
    threads.run(call(1_000), 0)
    desk.gates[0].set()
    wait_until(lambda: not threads.waiting and len(desk.ended) == 101, threads.wake)
    assert desk.begun.index(1_000) <= 2
