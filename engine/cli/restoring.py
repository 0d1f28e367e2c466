"""How far a worker that begins has come with the restore of its partitions. It only looks."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from engine.cli.progress import meter
from engine.node.worker import Worker

log = logging.getLogger(__name__)

LOOK_S = 0.1


@contextmanager
def showing_restore(worker: Worker) -> Iterator[None]:
    """Beside a worker that begins: how much of history it has read of what it must, until it is ready."""
    is_over = threading.Event()

    def show() -> None:
        with meter("restoring", log.info) as show_progress:
            while not (worker.ready.wait(LOOK_S) or is_over.is_set()):
                restores = list(worker.loop.restores.values())
                show_progress(sum(each.read for each in restores), sum(each.total for each in restores))

    thread = threading.Thread(target=show, name="restore-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
