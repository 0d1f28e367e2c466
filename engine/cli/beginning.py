"""How far what begins has come: a worker with its restores, a gateway with its read model. It only looks."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from engine.cli.progress import meter
from engine.node.worker import Worker
from engine.projection import ReadModel

log = logging.getLogger(__name__)

LOOK_S = 0.1


class Stage(msgspec.Struct, frozen=True):
    """Something that takes its time; `look` says how much of how much is done, None when it is over."""

    what: str
    look: Callable[[], tuple[int, int] | None]


def restore_of(worker: Worker) -> Stage:
    """The records of history that a worker reads before it is ready."""

    def look() -> tuple[int, int] | None:
        if worker.ready.is_set():
            return None
        restores = list(worker.loop.restores.values())
        return sum(each.read for each in restores), sum(each.total for each in restores)

    return Stage("restoring", look)


def rebuild_of(projection: ReadModel) -> Stage:
    """The history that a read model is built from."""

    def look() -> tuple[int, int] | None:
        progress = projection.progress
        if progress.is_done or not progress.is_rebuild:
            return None
        return progress.offset, progress.end

    return Stage("reading history", look)


@contextmanager
def showing(*stages: Stage) -> Iterator[None]:
    """Shows one stage after the other, by a thread, beside what works in the meantime."""
    is_over = threading.Event()

    def show() -> None:
        for stage in stages:
            with meter(stage.what, log.info) as show_progress:
                while (seen := stage.look()) is not None and not is_over.wait(LOOK_S):
                    show_progress(*seen)

    thread = threading.Thread(target=show, name="begin-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
