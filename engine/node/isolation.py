"""Runs each attempt in a process that has no other: CPU-bound ones, and all of a worker that died too often.

The death of that process is a failed attempt, and no other's. What can't be carried into another process
runs where it is called; of activities that ask for a process, `check_portable` tells before.
"""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from engine.core.registry import ActivityDefinition
from engine.errors import ConfigurationError
from engine.model.effects import RunActivity
from engine.model.failure import Failure, Payload, failure_of
from engine.node.fairness import Call, FairQueue
from engine.node.parent import die_with

Outcome = Payload | Failure | None
Attempt = Callable[[ActivityDefinition, RunActivity], Outcome]
Finish = Callable[[RunActivity, int, Outcome], None]

# Activities that sleep need not wait for each other, and so many interpreters still fit in memory.
PROCESSES_MAX = 8
UNPORTABLE = (pickle.PicklingError, AttributeError, TypeError)


def check_portable(definition: ActivityDefinition) -> None:
    """Raises ConfigurationError for an activity that no other process could find.

    Not when it is registered: a decorated function is not in its module yet.
    """
    try:
        pickle.dumps(definition)
    except UNPORTABLE as problem:
        message = (
            f"expected activity {definition.name!r}, which asks for executor='process', to be a function "
            f"that another process can import, but: {problem}; define it at the top of a module, under its "
            "own name and with types that are there too, or register it with executor='thread'"
        )
        raise ConfigurationError(message) from problem


class IsolatedRunner:
    """A few child processes with one attempt at a time each: a death has one suspect."""

    def __init__(self, attempt: Attempt, finish: Finish, processes_max: int = PROCESSES_MAX) -> None:
        self._attempt = attempt
        self._finish = finish
        self._processes_max = processes_max
        self._queue = FairQueue()
        # One for each call in the queue; at the end one for each thread.
        self._news = threading.Semaphore(0)
        self._definitions: dict[str, ActivityDefinition] = {}
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def run(self, definition: ActivityDefinition, call: RunActivity, partition: int) -> None:
        """Begins an attempt, or has it wait for those before."""
        self._definitions[call.name] = definition
        self._queue.put((call, partition))
        self._news.release()
        if len(self._threads) < self._processes_max and len(self._queue):
            name = f"activity-process-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Takes up nothing more."""
        self._is_closed = True
        for _ in self._threads:
            self._news.release()

    def _serve(self) -> None:
        process: ProcessPoolExecutor | None = None
        while (taken := self._take()) is not None:
            call, partition = taken
            definition = self._definitions[call.name]
            process = process or _new_process()
            try:
                outcome = process.submit(self._attempt, definition, call).result()
            except BrokenProcessPool:
                process = None
                text = f"the process that ran activity {call.name!r} died with it"
                outcome = failure_of("ActivityProcessDied", text)
            except UNPORTABLE:
                outcome = self._attempt(definition, call)
            self._finish(call, partition, outcome)
        if process is not None:
            process.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> Call | None:
        self._news.acquire()
        return None if self._is_closed else self._queue.take()


def _new_process() -> ProcessPoolExecutor:
    # Forking a process full of threads and open logs would copy locks nobody can open any more.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=die_with, initargs=(os.getpid(),))
