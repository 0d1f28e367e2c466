"""The benchmarks run, count right and report all that they promise. How fast anything is, is not tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import sizes
from bench.main import WORKLOADS, has_trouble, main
from bench.measuring import median, percentile, spread_ms
from bench.records import COMMANDS, HISTORY, INBOX, script_of

TINY = {
    "warm_up_runs": 5,
    "w1_runs": 20,
    "w1_window": 10,
    "w2_runs": 5,
    "w3_widths": [3, 20],
    "w3_repeats": 2,
    "w4_events": 4,
    "w5_timers": [5],
    "w5_seconds": 0.2,
    "w6_runs": 20,
    "w7_live": 40,
    "w7_finished": 40,
    "w10_queued": 20,
    "w10_steppers": 1,
    "w10_nap_ms": 10,
    "w10_idle_seconds": 1.0,
    "w12_filled": 40,
    "w12_runs": 20,
    "w12_waits": 3,
    "seconds_max": 60,
}

# All workloads, one after the other, before the first test.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one run of many workloads wrote."""
    folder = tmp_path_factory.mktemp("bench")
    names = "w1,w2,w3,w4,w5,w6,w7,w10,w12"
    arguments = ["--quick", "--only", names, "--log", "embedded", "--sizes", json.dumps(TINY)]
    assert main([*arguments, "--work", str(folder / "work"), "--out", str(folder / "out.json")]) == 0
    found: dict[str, Any] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    found["table"] = (folder / "out.md").read_text(encoding="utf-8")
    return found


def test_a_result_says_where_and_with_what_it_was_measured(result: dict[str, Any]) -> None:
    assert {"cpu", "cores", "memory_gb", "kernel", "load_before", "probe_cpu_ms"} <= result["machine"].keys()
    assert {"kafka", "python", "confluent-kafka", "kafka-workflow-engine"} <= result["versions"].keys()
    assert result["log"] == "embedded"
    assert result["quick"] is True
    assert result["sizes"] == sizes.sizes_of(TINY, quick=True)
    assert "durability" in result["about"]
    assert len(result["runs"]) == 1


def test_w1_counts_every_run_and_its_floor(result: dict[str, Any]) -> None:
    told = result["runs"][0]["w1"]
    assert told["records_per_run"]["records"] == {"commands": 1, "inbox": 4, "history": 8}
    assert told["clients"].keys() == {"raw", "asyncio"}
    for each in told["clients"].values():
        assert (each["lost"], each["wrong"]) == (0, 0)
        assert each["runs_per_s"]["all"] == [burst["runs_per_s"] for burst in each["bursts"]]
        for burst in each["bursts"]:
            assert burst["runs"] == burst["latency"]["n"] == TINY["w1_runs"]
            assert burst["activities_per_s"] == pytest.approx(3 * burst["runs_per_s"], rel=0.01)
            assert {"worker", "client"} <= burst["cpu_ms_each"].keys() & burst["peak_mb"].keys()
            assert burst["peak_mb"]["worker"]["rss"] > 1
    assert [burst["runs"] for burst in told["floor"]["bursts"]] == [TINY["w1_runs"]]
    assert told["floor"]["bursts"][0]["commits"] > 0


def test_w2_tells_percentiles_beside_the_floors(result: dict[str, Any]) -> None:
    told = result["runs"][0]["w2"]
    for each in (*told["clients"].values(), told["floor"]):
        latency = each["latency"]
        assert 0 < latency["min_ms"] <= latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"]
    assert all((each["lost"], each["wrong"]) == (0, 0) for each in told["clients"].values())


def test_w3_has_every_width(result: dict[str, Any]) -> None:
    widths = result["runs"][0]["w3"]["widths"]
    assert widths.keys() == {"3", "20"}
    for width, told in widths.items():
        assert told["records_per_run"]["records"]["history"] == 2 * int(width) + 2
        assert len(told["floor"]["seconds"]["all"]) == TINY["w3_repeats"]
        for each in told["clients"].values():
            assert (each["runs"], each["lost"], each["wrong"]) == (TINY["w3_repeats"], 0, 0)


def test_events_timers_and_queues_count_right(result: dict[str, Any]) -> None:
    run = result["runs"][0]
    assert all((each["runs"], each["wrong"]) == (4, 0) for each in run["w4"]["clients"].values())
    timers = run["w5"]["timers"]["5"]
    assert (timers["runs"], timers["lost"], timers["wrong"], timers["early"]) == (5, 0, 0, 0)
    assert timers["lateness"]["n"] == timers["floor"]["lateness"]["n"] == 5
    queue = run["w10"]
    assert (queue["lost"], queue["wrong"], queue["steppers"]) == (0, 0, 1)
    assert queue["idle"]["n"] > 0


def test_w6_loses_nothing_and_counts_what_ran_again(result: dict[str, Any]) -> None:
    told = result["runs"][0]["w6"]["modes"]["alone"]
    for each in (told["undisturbed"], told["killed"]):
        assert (each["lost"], each["wrong"]) == (0, 0)
        assert each["distinct_calls_ended"] == each["calls_expected"] == 3 * TINY["w6_runs"]
    killed = told["killed"]
    assert killed["outcomes_before_kill"] + killed["outcomes_after_kill"] == TINY["w6_runs"]
    assert killed["recovery_s"] >= killed["recovery_p50_s"] > 0
    assert told["undisturbed"]["started_again"] == 0
    assert told["floor"]["takeover"]["records"] > 0


def test_w7_restores_what_was_written_for_it(result: dict[str, Any]) -> None:
    for what in ("live", "finished"):
        told = result["runs"][0]["w7"][what]
        assert told["restores"].keys() == {"cold", "after a stop", "after a kill"}
        for each in told["restores"].values():
            assert (each["probes"], each["lost"], each["wrong"]) == (13, 0, 0)
        assert told["restores"]["cold"]["records_read"] >= told["instances"] == 40
        assert told["floor"]["records"] >= told["restores"]["cold"]["records_read"]


def test_w12_reads_all_that_was_written_and_wakes_every_waiter(result: dict[str, Any]) -> None:
    told = result["runs"][0]["w12"]
    events = told["built"]["events"]
    assert events == 8 * TINY["w12_filled"]
    assert told["built"]["floor"]["records"] > events
    assert told["built"]["events_per_s"] > 0
    assert told["following"]["runs"] == TINY["w12_runs"]
    assert told["waits"]["latency"]["n"] == told["waits"]["runs"] == TINY["w12_waits"]
    for each in (told["following"], told["waits"]):
        assert (each["lost"], each["wrong"]) == (0, 0)


def test_the_table_has_a_line_for_all_that_one_looks_at_first(result: dict[str, Any]) -> None:
    for text in ("w1 raw runs/s", "w1 raw to floor", "w2 floor p50/p95/p99 ms", "w3 20 activities, raw s"):
        assert f"| {text} |" in result["table"]
    assert "FAILED" not in result["table"]
    assert "LOST" not in result["table"]


def test_a_run_that_fails_is_told_and_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> dict[str, Any]:
        raise RuntimeError("no luck")

    monkeypatch.setitem(WORKLOADS, "w1", fails)
    assert main(["--only", "w1", "--log", "embedded", "--out", str(tmp_path / "out.json")]) == 1
    assert "| w1 | FAILED: RuntimeError: no luck |" in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["lost", "wrong", "early"])
def test_one_lost_or_wrong_run_deep_in_a_result_is_trouble(trouble: str) -> None:
    calm = [{"w1": {"clients": {"raw": {"bursts": [{trouble: 0}], "runs": 5}}}}]
    bad = [{"w1": {"clients": {"raw": {"bursts": [{trouble: 0}, {trouble: 1}]}}}}]
    assert (has_trouble(calm), has_trouble(bad)) == (False, True)


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="but got w1_rnus"):
        sizes.sizes_of({"w1_rnus": 1}, quick=False)


def test_every_workload_has_its_sizes_in_the_table() -> None:
    named = {name.split("_")[0] for name in {*sizes.COUNTS, *sizes.SETTINGS}}
    assert WORKLOADS.keys() <= named


def test_a_script_is_what_one_run_writes_in_the_order_of_its_needs() -> None:
    topics = [step.topic for step in script_of("chain", 1).steps]
    assert topics == [COMMANDS, INBOX, INBOX, INBOX, INBOX, HISTORY]
    child = [step.topic for step in script_of("parent", 1).steps]
    assert child == [COMMANDS, INBOX, HISTORY, INBOX, INBOX, HISTORY, INBOX, HISTORY]
    event = script_of("event", 1, events=[("deliver", 5)]).after_first_commit()
    assert [step.topic for step in event.steps] == [COMMANDS, INBOX, HISTORY]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [0.001 * number for number in range(1, 101)]
    assert percentile(values, 50) == 0.05
    assert percentile(values, 99) == 0.099
    assert percentile([], 50) is None
    assert median([1, 3, 2]) == 2
    assert spread_ms([0.001]) == {
        "n": 1, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "min_ms": 1.0, "max_ms": 1.0
    }  # fmt: skip
