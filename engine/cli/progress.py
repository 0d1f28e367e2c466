"""How far what takes long has come: a bar on a terminal, elsewhere a line now and then. Both on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.cli.access import Round

TELL_EVERY_S = 5.0


class Meter(Protocol):
    """Shows how far something has come."""

    def __call__(self, done: int, total: int) -> None:
        """So much of so much is done."""
        ...


@contextmanager
def meter(what: str, say: Callable[[str], None]) -> Iterator[Meter]:
    """A meter of `what`. `say` is told where there is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines(what, say)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    """The same in lines: the first after a while, for what is done at once needs none."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what = what
        self._say = say
        self._told_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._say(f"{self._what}: {done:,} of {total:,}")


def paced(rounds: Iterator[Round], rate: float) -> Iterator[Round]:
    """The rounds, no faster than so many of what is done a second."""
    began, done = time.monotonic(), 0
    for each in rounds:
        yield each
        done += each.done
        time.sleep(max(0.0, began + done / rate - time.monotonic()))
