"""The process that builds one file of a split read model, and what it tells whoever started it.

It ends when its parent does, however that ends: then nobody is at the other end of its pipe.
"""

import logging
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import msgspec

from engine.client.connection import Connection
from engine.client.errors import UnreachableError
from engine.errors import ConfigurationError
from engine.projection.projection import Progress, Projection

log = logging.getLogger(__name__)

PAUSE_S = 1.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What such a process is told. All of it can be pickled."""

    open_connection: Callable[[], Connection]
    path: Path
    partitions: tuple[int, ...]
    # Sets up the log of the process.
    configure: Callable[[], None]


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """How a part stands. What readers find in its file is never behind."""

    positions: dict[int, int]
    progress: Progress
    # These two since the process began.
    events: int
    generation: int
    has_failed: bool


def build(task: Task, pipe: Pipe) -> None:
    """Follows history until `pipe` brings anything, or its other end is closed."""
    # A terminal signals all processes of its group, and some supervisors do: the parent says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    task.configure()
    while not _has_built(task, pipe) and not pipe.poll(PAUSE_S):
        pass


def _has_built(task: Task, pipe: Pipe) -> bool:
    """False where that can't even begin now."""
    try:
        with closing(task.open_connection()) as connection:
            _build(connection, task, pipe)
    except (UnreachableError, ConfigurationError) as problem:
        log.warning("the projection can't begin, and tries again: %s", problem)
        return False
    return True


def _build(connection: Connection, task: Task, pipe: Pipe) -> None:
    def tell(projection: Projection) -> None:
        # Where nobody hears it any more, the process is about to end.
        with suppress(OSError):
            pipe.send(_update_of(projection))

    with closing(Projection(connection, task.path, partitions=task.partitions, on_change=tell)) as projection:
        projection.start()
        pipe.poll(None)


def _update_of(projection: Projection) -> Update:
    return Update(
        positions=dict(projection.positions),
        progress=projection.progress,
        events=projection.events,
        generation=projection.generation,
        has_failed=projection.has_failed,
    )
