"""What a workload is given: where to run, how large, by which clients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.clients import Ask, Burst, Client, Start
from bench.measuring import Meter
from bench.stacks import Lab, Stack
from bench.telling import Json


@dataclass
class Session:
    """One run of the benchmarks."""

    lab: Lab
    sizes: Json
    clients: Sequence[str]
    _waves: int = field(default=0)

    def starts(self, workflow: str, count: int, value: Callable[[int], Any] = lambda i: i) -> list[Start]:
        """So many starts, with ids that no earlier ones had."""
        self._waves += 1
        return [Start(f"{workflow}-{self._waves}-{i}", workflow, value(i)) for i in range(count)]

    @contextmanager
    def ready(self, name: str, *, processes: int = 1) -> Iterator[Stack]:
        """A stack with a worker that is ready and warm, and a broker that is."""
        with self.lab.stack(name, processes=processes) as stack:
            stack.start()
            self.warm_up(stack)
            yield stack

    def warm_up(self, stack: Stack) -> None:
        """Until the broker's code is compiled, and every partition has a leader that answers."""
        starts = self.starts("chain", self.sizes["warm_up_runs"])
        with stack.client("raw") as client:
            burst = client.burst(starts, self.sizes["w1_window"], self.sizes["seconds_max"])
        if burst.missing:
            raise RuntimeError(f"{burst.missing} of {len(starts)} warm-up runs had no outcome")

    def burst(self, stack: Stack, client: Client, asks: Iterable[Ask], window: int) -> tuple[Burst, Meter]:
        """A measured burst."""
        with Meter(stack.pids) as meter:
            burst = client.burst(asks, window, self.sizes["seconds_max"])
        return burst, meter
