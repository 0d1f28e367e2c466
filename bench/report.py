"""A result as JSON, with all that was measured, and as a table, with what one looks at first."""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.measuring import PROC
from ops.kafka.jars import KAFKA_VERSION

ROOT = Path(__file__).parents[1]
PROBE_LOOPS = 500_000
SYNCS = 100
LIBRARIES = ("kafka-workflow-engine", "confluent-kafka", "fastavro", "msgspec", "rocksdict")

Json = dict[str, Any]


def document(options: argparse.Namespace, sizes: Json) -> Json:
    """The frame of a result: what, where, with which versions."""
    return {
        "began_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "log": options.log,
        "quick": options.quick,
        "workloads": options.only,
        "commit": _commit(),
        "machine": machine(),
        "versions": versions(),
        "sizes": sizes,
        "runs": [],
    }


def versions() -> Json:
    """Of everything that takes part."""
    found = {name: version(name) for name in LIBRARIES}
    return found | {"kafka": KAFKA_VERSION, "python": platform.python_version()}


def machine() -> Json:
    """Where it ran, and how fast that was just then: a fixed loop's CPU time shows a machine that is slow."""
    model = [line for line in _lines(PROC / "cpuinfo") if line.startswith("model name")]
    memory = [line for line in _lines(PROC / "meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": model[0].split(":", 1)[1].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[0].split()[1]) / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
        "load_before": list(os.getloadavg()),
        "probe_cpu_ms": _probe_ms(),
    }


def _probe_ms() -> Json:
    taken = []
    for _ in range(7):
        began, total = time.process_time(), 0
        for number in range(PROBE_LOOPS):
            total += number & 7
        taken.append((time.process_time() - began) * 1000)
    return {"min": round(min(taken), 1), "max": round(max(taken), 1)}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def file_name(log_name: str) -> str:
    """A new one for every result."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{log_name}.json"


def write(target: Path, result: Json) -> None:
    """JSON, and the table beside it; whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (target, json.dumps(result, indent=1) + "\n"),
        (_table_file(target), table_of(result)),
    ):
        draft = path.with_name(path.name + ".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def _table_file(target: Path) -> Path:
    return target.with_suffix(".md")


# --- the table ---


def table_of(result: Json) -> str:
    """Markdown: a line for every number one looks at first, a column for every run."""
    columns = [dict(_rows(run)) for run in result["runs"]]
    names = list(dict.fromkeys(name for column in columns for name in column))
    titles = " | ".join(f"run {number + 1}" for number in range(len(columns)))
    lines = [_heading(result), "", f"| what | {titles} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = " | ".join(column.get(name, "") for column in columns)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _heading(result: Json) -> str:
    machine_told, about = result["machine"], result.get("about", {})
    probe = machine_told["probe_cpu_ms"]
    where = f"{machine_told['cpu']}, {machine_told['cores']} cores, {machine_told['memory_gb']} GB"
    load = machine_told["load_before"][0]
    durability, partitions = about.get("durability", ""), result["sizes"]["partitions"]
    return f"""# Benchmarks on {result["log"]}, {result["began_utc"]}{" (quick)" if result["quick"] else ""}

{where}; a fixed loop takes {probe["min"]} to {probe["max"]} ms of CPU; load before {load:.1f}.
{durability}; {partitions} partitions; client, worker and log share the cores.
Commit {result["commit"]}; {", ".join(f"{name} {number}" for name, number in result["versions"].items())}."""


def _rows(run: Json) -> Iterator[tuple[str, str]]:
    for name, told in run.items():
        if "failed" in told:
            yield name, f"FAILED: {told['failed']:.120}"
        elif "skipped" in told:
            yield name, f"skipped: {told['skipped']}"
        yield from ((f"{name} {what}", text) for what, text in told.get("table", {}).items())
