"""Whoever owns a partition may die, stop or share at any time: another goes on, nothing happens twice."""

from __future__ import annotations

import os
import signal
import sys
import time

from tests.integration.harness import REPOSITORY, AppUnderTest

COUNT = 300


def test_another_worker_takes_over_from_one_that_was_killed(subject: AppUnderTest) -> None:
    first = subject.worker("a")
    first.wait_ready()
    second = subject.worker("b")
    second.wait_ready()
    ids = subject.start("slow_chain", 1, count=COUNT) + subject.start("parent", 1, count=COUNT // 10)
    audit = subject.auditor()

    audit.read_until(lambda: len(audit.runs) > COUNT // 10, "work in progress")
    first.kill()

    outcomes = audit.read_outcomes(ids)
    assert {outcomes[each] for each in ids} == {4, 40}
    audit.read_until_all_has_arrived()
    second.stop()
    audit.read_all()
    audit.check(started=ids)
    audit.check_nothing_is_on_its_way()


def test_a_worker_killed_alone_goes_on_where_it_was(subject: AppUnderTest) -> None:
    first = subject.worker()
    first.wait_ready()
    ids = subject.start("slow_chain", 1, count=COUNT)
    audit = subject.auditor()
    audit.read_until(lambda: len(audit.runs) > 10, "work in progress")
    first.kill()

    second = subject.worker()
    second.wait_ready()
    assert set(audit.read_outcomes(ids).values()) == {4}
    second.stop()
    audit.read_all()
    audit.check(started=ids)


def test_a_supervisor_restarts_a_killed_child_in_its_slot(subject: AppUnderTest) -> None:
    supervisor = subject.worker(processes=2)
    ready = supervisor.wait_ready(2)
    assert sorted(record["slot"] for record in ready) == [0, 1]
    victim = ready[0]
    os.kill(victim["process"], signal.SIGKILL)
    killed_at = time.monotonic()

    again = supervisor.wait_ready(3)[-1]
    back = time.monotonic() - killed_at
    ids = subject.start("ask_process", count=40)
    answers = set(subject.auditor().read_outcomes(ids).values())
    print(f"\na killed child owned its partitions again after {back:.2f} s", file=sys.stderr)

    assert again["process"] != victim["process"]
    # A worker is ready with what it owns then: the first of two may own more than after the second came.
    assert again["member"] == victim["member"]
    assert set(again["partitions"]) <= set(victim["partitions"])
    assert again["process"] in answers
    assert supervisor.stop() < 5


def test_no_process_outlives_a_killed_supervisor(subject: AppUnderTest) -> None:
    supervisor = subject.worker(processes=2)
    children = [record["process"] for record in supervisor.wait_ready(2)]
    assert len(set(children)) == 2
    subject.start("ask_pool")
    subject.auditor().read_events("ask_pool-0", "CustomStatusSet")
    supervisor.kill()
    # They share its pipe, which is open for as long as any of them lives.
    assert supervisor.has_ended_with_all_children


def test_a_graceful_stop_is_quick_and_hands_over_at_once(subject: AppUnderTest) -> None:
    first = subject.worker("a", session_timeout_ms=60_000)
    first.wait_ready()
    second = subject.worker("b", session_timeout_ms=60_000)
    ids = subject.start("chain", 1, count=100)
    audit = subject.auditor()
    audit.read_until(lambda: bool(audit.runs), "work in progress")

    assert first.stop() < 5
    # Far below the session's timeout: the first one said goodbye.
    assert set(audit.read_outcomes(ids).values()) == {4}
    # All may have been done before it was even up: then a signal would end it before it can stop in order.
    second.wait_ready()
    second.stop()
    audit.read_all()
    audit.check(started=ids)


def test_workers_join_and_leave_under_load(subject: AppUnderTest) -> None:
    workers = [subject.worker("a"), subject.worker("a")]
    for worker in workers:
        worker.wait_ready()
    ids: list[str] = []
    audit = subject.auditor()
    third = None
    for wave in range(6):
        ids += subject.start("chain", 1, count=100, name=f"wave-{wave}")
        if wave == 1:
            third = subject.worker("b")
        if wave == 2:
            workers[0].stop()
        audit.read_outcomes(ids[:-50])
    assert third is not None
    third.wait_ready()
    third.stop()
    ids += subject.start("parent", 1, count=20)

    assert set(audit.read_outcomes(ids).values()) == {4, 40}
    audit.read_until_all_has_arrived()
    workers[1].stop()
    audit.read_all()
    audit.check(started=ids)
    audit.check_nothing_is_on_its_way()


def test_a_worker_that_was_stopped_for_long_goes_on(subject: AppUnderTest) -> None:
    # For longer than a turn may take: whoever stops a process does not make its code loop.
    worker = subject.worker(turn_seconds_max=5)
    worker.wait_ready()
    os.kill(worker.pid, signal.SIGSTOP)
    # It can't tell when it has stood still for long enough.
    time.sleep(7)
    os.kill(worker.pid, signal.SIGCONT)

    ids = subject.start("chain", 1)
    assert subject.auditor().read_outcomes(ids) == {ids[0]: 4}
    worker.stop()


def test_a_childs_result_arrives_once_though_its_sender_died_before_sending(subject: AppUnderTest) -> None:
    deadly = [sys.executable, str(REPOSITORY / "tests/integration/killed_at_send.py")]
    first = subject.worker(program=deadly)
    first.wait_ready()
    ids = subject.start("parent", 4)
    assert first.wait() == -signal.SIGKILL
    audit = subject.auditor()
    audit.read_all()
    assert [run[0] for run, events in audit.runs.items() if events[-1].kind == "InstanceCompleted"] != ids

    second = subject.worker()
    assert audit.read_outcomes(ids) == {ids[0]: 70}
    audit.read_until_all_has_arrived()
    second.stop()
    audit.read_all()
    assert len(audit.read_events(ids[0], "ChildCompleted")) == 1
    audit.check(started=ids)
    audit.check_nothing_is_on_its_way()
