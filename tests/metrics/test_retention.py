"""Retention over restarts and changes of its policy, with a cache on disk; and what is told of it."""

from __future__ import annotations

from pathlib import Path

from engine.model.retention import RetentionPolicy
from engine.node.worker import WorkerSettings
from engine.partition.context import OwnerSettings
from engine.store.directory import empty
from tests.metrics.running import PARTITIONS, Running, running

HOUR_MS = 3_600_000
INSTANCES = 5


def worker_with(policy: RetentionPolicy) -> WorkerSettings:
    return WorkerSettings(owner=OwnerSettings(retention=policy))


def purged(worker: Running) -> float:
    return worker.read("engine_retention_purged_total")


def test_a_policy_counts_for_what_ended_before_it_and_a_rebuilt_cache_knows_as_much(tmp_path: Path) -> None:
    with running(tmp_path) as worker:
        for number in range(INSTANCES):
            worker.start("sleeps", f"s{number}")
        worker.start("failing", "f", "no luck")
        worker.wait(INSTANCES, "dapr_runtime_workflow_execution_count", status="success")
        worker.wait(1, "dapr_runtime_workflow_execution_count", status="failed")

    with running(tmp_path, settings=worker_with(RetentionPolicy(any_terminal_ms=HOUR_MS))) as worker:
        worker.start("sleeps", "late")
        worker.wait(1, "dapr_runtime_workflow_execution_count", status="success")
        assert purged(worker) == worker.read("engine_retention_overdue_seconds") == 0

    for number in range(PARTITIONS):
        empty(tmp_path / f"cache-{number}")
    policy = RetentionPolicy(any_terminal_ms=0, failed_ms=HOUR_MS)
    with running(tmp_path, settings=worker_with(policy)) as worker:
        worker.wait(INSTANCES + 1, "engine_retention_purged_total")
        worker.start("sleeps", "s0")
        worker.wait(INSTANCES + 2, "engine_retention_purged_total")
        assert worker.read("engine_dead_letters_total") == 0
