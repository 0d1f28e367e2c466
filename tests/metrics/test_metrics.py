"""What a worker exports is what it did, in the names, kinds and labels of the table."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.core.decide import Seat
from engine.errors import ConfigurationError
from engine.model.state import InstanceState, Phase
from engine.node.endpoint import Endpoint
from engine.node.metrics import METRICS
from engine.node.readings import READERS
from engine.partition.measures import Histogram, Measures
from engine.partition.notices import Stalls
from engine.telemetry.table import Kind
from tests.metrics.running import Running, gate, get, running
from tests.metrics.tools import run_tool

DAPR = "dapr_runtime_workflow_"


def work(worker: Running) -> None:
    """Something of everything, to its end."""
    worker.start("doubled", "d", 3)
    worker.start("failing", "f", "a reason")
    worker.start("sleeps", "s")
    worker.start("parent", "p", 1)
    worker.start("nobody knows it", "u")
    worker.start("asks", "a")
    worker.publish("RaiseEvent", "a", name="answer", data=1)
    worker.publish("TerminateInstance", "nobody")
    worker.publish_raw("m", b"{not json")
    worker.wait(5, f"{DAPR}execution_count", status="success")
    worker.wait(2, f"{DAPR}execution_count", status="failed")
    worker.wait(2, "engine_dead_letters_total")


def test_every_metric_of_the_table_has_a_reading_and_is_exported(worker: Running) -> None:
    assert set(READERS) == {metric.name for metric in METRICS}
    work(worker)
    _, text = worker.get("/metrics")
    kinds = {Kind.UNTYPED: "unknown"}
    found = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        family = found[metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name]
        assert family.type == kinds.get(metric.kind, metric.kind.value), metric.name
        assert family.documentation == metric.help
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert labels <= {frozenset(metric.labels)}, metric.name


def test_names_follow_the_conventions(worker: Running) -> None:
    work(worker)
    done = run_tool("promtool", "check", "metrics", text=worker.get("/metrics")[1])
    # Dapr's names are Dapr's.
    problems = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("dapr_")]
    assert problems == []


def test_numbers_are_those_of_what_was_done(worker: Running) -> None:
    work(worker)
    names = {"app_id": "shop", "namespace": "wf"}
    assert worker.read(f"{DAPR}operation_count", operation="create_workflow", status="success", **names) == 7
    assert worker.read(f"{DAPR}operation_count", operation="add_event", **names) == 1
    assert worker.read(f"{DAPR}execution_count", workflow_name="doubled", status="success") == 2
    assert worker.read(f"{DAPR}execution_latency_count", workflow_name="doubled") == 2
    assert worker.read(f"{DAPR}scheduling_latency_count", workflow_name="doubled") == 2
    assert worker.read(f"{DAPR}activity_execution_count", activity_name="double", status="success") == 2
    assert worker.read(f"{DAPR}activity_operation_count", activity_name="fail", status="failed") == 1
    assert worker.read("engine_activity_queue_seconds_count") == 5
    assert worker.read("engine_activity_run_seconds_count", activity="double_soon") == 2
    assert worker.read("engine_activities_running") == 0
    assert worker.read("engine_dead_letters_total", reason="Malformed") == 1
    assert worker.read("engine_dead_letters_total", reason="InstanceNotFound") == 1
    assert worker.read("engine_timers_fired_total") == 1
    assert worker.read("engine_timer_late_seconds_count") == 1
    assert worker.read("engine_ingress_refused_total") == 1
    assert worker.read("engine_partitions_owned", status="live") == 2
    assert worker.read("engine_restore_seconds_count") == 2
    assert worker.read("engine_turn_seconds_count") == worker.read("engine_turns_total") > 0
    assert worker.read("engine_commit_seconds_count") == worker.read("engine_commits_total") > 0
    assert worker.read("engine_losses_total") == 0


def test_a_name_from_outside_makes_no_series(worker: Running) -> None:
    for number in range(20):
        worker.start(f"made-up-{number}", f"i-{number}")
    worker.wait(20, f"{DAPR}execution_count", workflow_name="other", status="failed")
    _, text = worker.get("/metrics")
    assert "made-up" not in text
    assert "i-1" not in text


def test_gauges_tell_what_is_under_way(worker: Running) -> None:
    worker.start("gated", "g")
    worker.start("asks", "a")
    worker.wait(1, "engine_activities_running")
    worker.wait(2, "engine_instances_live")
    assert worker.read("engine_calls_under_way") == 1
    worker.wait(2, "engine_executions_live")
    gate.set()
    worker.wait(1, f"{DAPR}execution_count", workflow_name="gated")
    worker.wait(1, "engine_rocksdb_bytes")
    assert worker.read("engine_activities_running") == 0


def test_scrapes_that_meet_work_are_whole(worker: Running) -> None:
    stop, problems = threading.Event(), []

    def scrape() -> None:
        while not stop.is_set():
            status, text = worker.get("/metrics")
            names = {family.name for family in text_string_to_metric_families(text)}
            if status != 200 or "engine_turns" not in names:
                problems.append(text)

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(200):
        worker.start("doubled", f"d-{number}", number)
    worker.wait(200, f"{DAPR}execution_count", workflow_name="doubled", status="success")
    stop.set()
    thread.join(60)
    assert problems == []


def test_counters_of_a_partition_go_on_with_its_next_owner() -> None:
    measures = Measures()
    measures.partition(3).turns += 5
    measures.partition(3).turns += 1
    assert measures.partitions[3].turns == 6


def test_a_histograms_bounds_are_inclusive_and_its_last_count_is_of_what_is_above() -> None:
    histogram = Histogram((10, 20))
    for value, times in ((10, 1), (11, 2), (20, 1), (21, 3)):
        histogram.observe(value, times)
    assert (histogram.counts, histogram.total) == ([1, 3, 3], 10 + 22 + 20 + 63)


def test_turns_of_one_pass_are_counted_with_their_mean() -> None:
    clock = iter([1_000, 61_000])
    measures = Measures(lambda: next(clock))
    counters = measures.partition(0)
    measures.turns_begin(counters, 4)
    counters.turns += 3
    measures.turns_end(counters)
    assert measures.turn_ns.total == 60_000
    assert sum(measures.turn_ns.counts) == 3
    assert measures.inbox_wait_ms.total == 4


def test_a_run_that_stalls_and_goes_on_or_ends_is_counted_while_it_is_stalled() -> None:
    stalls = Stalls()
    state = InstanceState(
        instance_id="a", run_id="r", workflow="w", phase=Phase.RUNNING, created_at_ms=0, last_event_at_ms=0
    )
    seat = Seat(instance_id="a", state=state)
    state.stall = "NonDeterminism"
    stalls.mind(seat)
    assert stalls.by_reason() == {"NonDeterminism": 1}
    state.phase = Phase.TERMINATED
    stalls.mind(seat)
    assert stalls.by_reason() == {}
    state.phase = Phase.RUNNING
    stalls.mind(seat)
    state.stall = None
    stalls.mind(seat)
    assert stalls.by_reason() == {}


def test_a_port_that_is_taken_is_named(worker: Running) -> None:
    port = worker.endpoint.port
    with pytest.raises(ConfigurationError, match=f"127.0.0.1 port {port} for metrics, but it is taken"):
        Endpoint("127.0.0.1", port)


def test_a_port_that_the_slot_takes_beyond_the_last_is_named() -> None:
    with pytest.raises(ConfigurationError, match="with the slot's number it is 65536"):
        Endpoint("127.0.0.1", 65_536)


def test_other_paths_and_methods_are_refused(worker: Running) -> None:
    assert worker.get("/")[0] == 404
    assert "/healthz/ready" in worker.get("/metric")[1]
    assert worker.get("/metrics", "POST")[0] == 405


def test_before_there_is_a_worker_only_the_process_is_told_of() -> None:
    endpoint = Endpoint("127.0.0.1", 0)
    try:
        text = get(endpoint.port, "/metrics")[1]
        assert "process_cpu_seconds_total" in text
        assert "engine_" not in text
    finally:
        endpoint.close()


def test_two_workers_of_one_machine_have_two_endpoints(tmp_path: Path) -> None:
    with running(tmp_path / "a") as one, running(tmp_path / "b") as other:
        one.start("doubled", "d")
        one.wait(1, f"{DAPR}execution_count", workflow_name="doubled")
        assert other.read(f"{DAPR}execution_count", workflow_name="doubled") == 0
