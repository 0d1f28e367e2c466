"""The command line of the benchmarks: which workloads, on which log, how large, how often, where to."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import crash, latency, reading, restoring, throughput
from bench.clients import KINDS
from bench.report import document, file_name, table_of, write
from bench.session import Session
from bench.sizes import sizes_of
from bench.stacks import Lab
from bench.telling import Json

WORKLOADS: dict[str, Callable[[Session], Json]] = {
    "w1": throughput.w1,
    "w2": throughput.w2,
    "w3": latency.w3,
    "w4": latency.w4,
    "w5": latency.w5,
    "w6": crash.w6,
    "w7": restoring.w7,
    "w8": throughput.w8,
    "w9": throughput.w9,
    "w10": latency.w10,
    "w11": throughput.w11,
    "w12": reading.w12,
    "scaling": throughput.scaling,
}
TERMINATED_EXIT = 143
TROUBLES = ("failed", "lost", "wrong", "early")
RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 where a workload failed, lost a run, gave a wrong result or fired a timer early."""
    options = _parser().parse_args(arguments)
    # As Ctrl-C would: whatever was started ends, and is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED_EXIT))
    options.only = _chosen(options.only)
    sizes = sizes_of(json.loads(options.sizes), quick=options.quick)
    clients = KINDS if options.client == "both" else (options.client,)
    directory = Path(options.work) if options.work else Path(tempfile.mkdtemp(prefix="bench-"))
    result = document(options, sizes)
    target = Path(options.out) if options.out else RESULTS / file_name(options.log)
    try:
        for run in range(options.runs):
            with Lab(
                options.log, directory / f"run-{run}", sizes["partitions"], is_synced=options.fsync
            ) as lab:
                result["about"] = lab.about
                session = Session(lab, sizes, clients)
                result["runs"].append(_run(session, options.only, run))
            write(target, result)
    finally:
        if not options.work:
            shutil.rmtree(directory, ignore_errors=True)
    print(table_of(result))
    print(f"\nwritten to {target} and {target.with_suffix('.md')}", file=sys.stderr)
    return int(has_trouble(result["runs"]))


def has_trouble(told: Any) -> bool:
    """Whether, however deep in a result, something failed, was lost or wrong, or came early."""
    if isinstance(told, list):
        return any(has_trouble(each) for each in told)
    if not isinstance(told, dict):
        return False
    return any(told.get(name) for name in TROUBLES) or any(has_trouble(each) for each in told.values())


def _run(session: Session, names: list[str], run: int) -> Json:
    found: Json = {}
    for name in names:
        began = time.perf_counter()
        try:
            told = WORKLOADS[name](session)
        except Exception as problem:
            # A failed workload is a result too, and the others are still wanted.
            told = {"failed": f"{type(problem).__name__}: {problem}", "trace": traceback.format_exc()}
        told["took_s"] = round(time.perf_counter() - began, 1)
        found[name] = told
        state = told.get("failed", "done")
        print(f"[run {run + 1}] {name}: {state} ({told['took_s']} s)", file=sys.stderr, flush=True)
    return found


def _chosen(only: str) -> list[str]:
    names = [name for name in only.split(",") if name] or list(WORKLOADS)
    unknown = sorted(set(names) - WORKLOADS.keys())
    if unknown:
        message = f"expected workloads of {', '.join(WORKLOADS)}, but got {', '.join(unknown)}"
        raise SystemExit(message)
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add: Any = parser.add_argument
    add("--log", choices=("kafka", "embedded"), default="kafka", help="what it runs on (%(default)s)")
    add("--only", default="", help=f"some of {','.join(WORKLOADS)}; all by default")
    add("--client", choices=(*KINDS, "both"), default="both", help="who loads W1 and its like (%(default)s)")
    add("--sizes", default="{}", help="JSON that overrides numbers of bench/sizes.py")
    add("--quick", action="store_true", help="a tenth of everything: whether it works, not how fast")
    add("--runs", type=int, default=1, help="how often to do all of it, each time on a new log")
    add("--fsync", action="store_true", help="the broker calls fsync for every append")
    add("--work", default="", help="a folder for logs and caches; kept. By default a temporary one")
    add("--out", default="", help="the JSON to write; the table goes beside it. By default in bench/results")
    return parser
