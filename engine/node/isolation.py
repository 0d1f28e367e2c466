"""Runs activities one at a time in a process of their own, for a worker that has died too often.

The death of that process is a failed attempt. What can't be carried into another process runs where it is
called.
"""

import multiprocessing
import os
import pickle
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from engine.core.registry import ActivityDefinition
from engine.model.effects import RunActivity
from engine.model.failure import Failure, Payload, failure_of
from engine.node.parent import die_with

Outcome = Payload | Failure | None
Attempt = Callable[[ActivityDefinition, RunActivity], Outcome]
Finish = Callable[[RunActivity, int, Outcome], None]


class IsolatedRunner:
    """One child process at a time, one attempt at a time: a death has one suspect."""

    def __init__(self, attempt: Attempt, finish: Finish) -> None:
        self._attempt = attempt
        self._finish = finish
        self._queue: queue.SimpleQueue[tuple[ActivityDefinition, RunActivity, int] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._process: ProcessPoolExecutor | None = None

    def run(self, definition: ActivityDefinition, call: RunActivity, partition: int) -> None:
        """Begins an attempt, or has it wait for those before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="activity-isolated", daemon=True)
            self._thread.start()
        self._queue.put((definition, call, partition))

    def close(self) -> None:
        """Takes up nothing more."""
        self._queue.put(None)

    def _serve(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                break
            definition, call, partition = item
            self._finish(call, partition, self._outcome(definition, call))
        if self._process is not None:
            self._process.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, definition: ActivityDefinition, call: RunActivity) -> Outcome:
        if self._process is None:
            # Forking a process full of threads and open logs would copy locks nobody can open any more.
            context = multiprocessing.get_context("spawn")
            self._process = ProcessPoolExecutor(
                1, mp_context=context, initializer=die_with, initargs=(os.getpid(),)
            )
        try:
            return self._process.submit(self._attempt, definition, call).result()
        except BrokenProcessPool:
            self._process = None
            text = f"the process that ran activity {call.name!r} died with it"
            return failure_of("ActivityProcessDied", text)
        except (pickle.PicklingError, AttributeError, TypeError):
            return self._attempt(definition, call)
