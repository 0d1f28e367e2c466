"""Where the CPU time goes: each component alone, over records made in advance.

`python -m bench.profile` prints a table of microseconds of CPU, of all threads of this process: those of
librdkafka are in it. `--functions owner` prints what cProfile says of one component, `--kafka` adds those
that need a broker. CPU time is steadier than the clock on a machine that others load, but caches and
frequencies still move it: compare numbers of one run.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.components import COMPONENTS, KAFKA_COMPONENTS, Measured
from bench.report import machine, versions
from bench.stacks import Lab

WARM_UP_RUNS = 100
Row = tuple[str, str, float, int]


class Stopwatch:
    """CPU time of what is inside `with`, added up; profiled where that was asked for."""

    def __init__(self, profiler: cProfile.Profile | None = None) -> None:
        self.seconds = 0.0
        self._profiler = profiler

    @contextmanager
    def running(self) -> Iterator[None]:
        """Only what is inside counts."""
        if self._profiler is not None:
            self._profiler.enable()
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - began
            if self._profiler is not None:
                self._profiler.disable()


def measure(component: Callable[..., Iterator[Measured]], *arguments: object) -> Iterator[Row]:
    """The rows of one component, after a small run of it that isn't counted."""
    for _ in component(Stopwatch, *arguments[:-1], WARM_UP_RUNS):
        continue
    for what, per, count, seconds in component(Stopwatch, *arguments):
        yield what, per, seconds / count * 1e6, count


def table_of(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| component | CPU µs | for each | of |", "|---|---:|---|---:|"]
    lines += [f"| {what} | {micros:.2f} | {per} | {count:,} |" for what, per, micros, count in rows]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--runs", type=int, default=3_000, help="runs of 3 activities to take (%(default)s)")
    parser.add_argument("--functions", choices=COMPONENTS, help="what cProfile says of one component")
    parser.add_argument("--top", type=int, default=30, help="functions to show (%(default)s)")
    parser.add_argument("--kafka", action="store_true", help="also what needs a broker")
    options = parser.parse_args(arguments)
    if options.functions:
        _profile(options.functions, options.runs, options.top)
        return 0
    rows = [row for each in COMPONENTS.values() for row in measure(each, options.runs)]
    if options.kafka:
        with tempfile.TemporaryDirectory() as folder, Lab("kafka", Path(folder), 1) as lab:
            for name, each in KAFKA_COMPONENTS.items():
                with lab.stack(name) as stack:
                    rows += measure(each, stack.place, options.runs)
    found = machine()
    print(f"{found['cpu']}, {found['cores']} cores, load {found['load_before'][0]:.1f}; {versions()}\n")
    print(table_of(rows))
    return 0


def _profile(name: str, runs: int, top: int) -> None:
    profiler = cProfile.Profile()
    for _ in COMPONENTS[name](lambda: Stopwatch(profiler), runs):
        continue
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(top)


if __name__ == "__main__":
    sys.exit(main())
