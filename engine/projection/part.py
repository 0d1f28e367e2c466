"""The process that builds one file of a split read model, and what it tells whoever started it.

It ends when its parent does, however that ends: then nobody is at the other end of its pipe.
"""

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import msgspec

from engine.client.connection import Connection
from engine.client.errors import UnreachableError
from engine.errors import ConfigurationError
from engine.node.process import end_process
from engine.projection.projection import Progress, Projection

log = logging.getLogger(__name__)

PAUSE_S = 1.0
# What the parent says: that the process is to end, or that a reader found some part's file damaged.
END = None
DOUBT = "damaged"


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
    """Follows history until `pipe` brings END, or its other end is closed. What else it brings is a doubt."""
    # A terminal signals all processes of its group, and some supervisors do: the parent says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    task.configure()
    while not pipe.poll(0):
        try:
            _build(task.open_connection(), task, pipe)
        except (UnreachableError, ConfigurationError) as problem:
            log.warning("the projection can't begin, and tries again: %s", problem)
            pipe.poll(PAUSE_S)


def _build(connection: Connection, task: Task, pipe: Pipe) -> None:
    def tell(projection: Projection) -> None:
        # Where nobody hears it any more, the process is about to end.
        with suppress(OSError):
            pipe.send(_update_of(projection))

    projection = Projection(connection, task.path, partitions=task.partitions, on_change=tell)
    projection.start()
    with suppress(EOFError):
        while pipe.recv() is not END:
            generation = projection.generation
            if projection.is_damaged():
                projection.doubt(generation)
    # At once, for nothing is lost: to close a client whose Kafka is down takes long.
    end_process(0)


def _update_of(projection: Projection) -> Update:
    return Update(
        positions=dict(projection.positions),
        progress=projection.progress,
        events=projection.events,
        generation=projection.generation,
        has_failed=projection.has_failed,
    )
