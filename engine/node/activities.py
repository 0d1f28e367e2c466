"""Runs activities.

Sync ones on threads, async ones on one event loop, CPU-bound ones in processes if they ask.

An attempt ends in one inbox record, a result or a failure. Nothing an activity does can stop its worker but
killing the process; what it returned is on its way before the thread takes up the next.
"""

import asyncio
import inspect
import logging
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from engine.codec import avro
from engine.core.activity import WorkflowActivityContext
from engine.core.failing import failure_from
from engine.core.registry import ActivityDefinition, Registry
from engine.core.values import decode_value, encode_value
from engine.errors import LimitExceededError, NonRetryableError
from engine.model.commands import ActivityResult, CompleteActivity, FailActivity
from engine.model.effects import RunActivity
from engine.model.failure import Failure, Payload, failure_of
from engine.node.activity_measures import ActivityMeasures
from engine.node.isolation import IsolatedRunner, check_portable
from engine.node.threads import ActivityThreads
from engine.partition.ports import Append

log = logging.getLogger(__name__)

AppendFunction = Callable[[Append], None]

# Where there is one core only, a long attempt must not hold up all others.
PROCESSES_MIN = 2


class ActivityPool:
    """The activities of one worker process."""

    def __init__(
        self,
        registry: Registry,
        append: AppendFunction,
        threads_max: int,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Raises ConfigurationError for an activity that asks for a process and can't be taken to one.

        `on_failure` hears, in any thread, of an outcome that could not be appended: the call waits for it
        until another owner makes it again, so this process had better end.
        """
        self.started = 0
        self.measures = ActivityMeasures(registry.activities)
        self._registry = registry
        self._append = append
        self._on_failure = on_failure
        self._threads = ActivityThreads(self._serve, threads_max)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Payload | Failure | None]] = set()
        self._is_closed = False
        self._isolated = IsolatedRunner(run_attempt, self._finish)
        processes_max = max(PROCESSES_MIN, multiprocessing.cpu_count())
        self._processes = IsolatedRunner(run_attempt, self._finish, processes_max)
        self._kinds = {name: self._kind_of(definition) for name, definition in registry.activities.items()}

    def run(self, call: RunActivity, partition: int, is_isolated: bool) -> None:  # noqa: FBT001 -- a callback
        """Begins an attempt; its outcome is appended to the inbox of `partition`.

        Called by the owners' thread.
        """
        if self._is_closed:
            return
        self.started += 1
        self.measures.asked(call)
        kind = self._kinds.get(call.name, "unknown")
        if is_isolated and kind != "unknown":
            self._isolated.run(self._registry.activities[call.name], call, partition)
        elif kind == "thread":
            self._threads.run(call, partition)
        elif kind == "async":
            self._event_loop().call_soon_threadsafe(self._begin_async, call, partition)
        elif kind == "process":
            self._processes.run(self._registry.activities[call.name], call, partition)
        else:
            known = ", ".join(sorted(self._registry.activities)[:20]) or "none"
            text = f"expected a registered activity, but {call.name!r} is not one of: {known}"
            self._finish(call, partition, failure_of("ActivityNotRegisteredError", text))

    @property
    def finished(self) -> int:
        """Attempts ended."""
        return self.measures.finished_count

    @property
    def under_way(self) -> int:
        """Attempts asked for and not ended."""
        return self.started - self.finished

    @property
    def waiting(self) -> int:
        """Attempts that no thread has taken up."""
        return self._threads.waiting

    def wake(self) -> None:
        """Begins what was asked for since. To be called often, by the owners' thread."""
        self._threads.wake()

    def close(self) -> None:
        """Takes up nothing more.

        What is running is left to itself: its result is of no use to this process.
        """
        self._is_closed = True
        self._isolated.close()
        self._processes.close()
        self._threads.close()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)

    # --- threads ---

    def _serve(self, call: RunActivity, partition: int) -> None:
        self.measures.began(call)
        self._finish(call, partition, run_attempt(self._registry.activities[call.name], call))

    def _finish(self, call: RunActivity, partition: int, outcome: Payload | Failure | None) -> None:
        self.measures.finished(call, has_failed=isinstance(outcome, Failure))
        if self._is_closed:
            return
        value = avro.encode_command(result_of(call, outcome))
        try:
            self._append(Append(partition, call.instance_id.encode(), value))
        except Exception as problem:
            if self._on_failure is None:
                raise
            self._on_failure(problem)

    # --- the event loop ---

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run_loop, name="activity-loop", daemon=True).start()
        return self._loop

    def _run_loop(self) -> None:
        assert self._loop is not None
        while not self._is_closed:
            self._loop.run_forever()
            if not self._is_closed:
                # Every async activity of this process is on it.
                log.warning("an activity stopped the event loop that it runs on; it goes on")
        self._loop.close()

    def _begin_async(self, call: RunActivity, partition: int) -> None:
        assert self._loop is not None
        task = self._loop.create_task(_attempt_async(self._registry.activities[call.name], call))
        # A loop holds its tasks weakly: one that nobody else knows may vanish in the middle.
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end_async(done, call, partition))

    def _end_async(
        self, done: "asyncio.Task[Payload | Failure | None]", call: RunActivity, partition: int
    ) -> None:
        self._tasks.discard(done)
        self._finish(call, partition, done.result())

    @staticmethod
    def _kind_of(definition: ActivityDefinition) -> str:
        if definition.executor == "process":
            check_portable(definition)
            return "process"
        return "async" if inspect.iscoroutinefunction(definition.function) else definition.executor


def run_attempt(definition: ActivityDefinition, call: RunActivity) -> Payload | Failure | None:
    """Runs an activity to its outcome, whatever that is."""
    try:
        value = _call(definition, call)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        return encode_value(value, f"the result of activity {call.name!r}")
    except BaseException as error:  # noqa: BLE001 -- an activity's error is its outcome, whatever its kind
        return _failure_from(error)


async def _attempt_async(definition: ActivityDefinition, call: RunActivity) -> Payload | Failure | None:
    try:
        return encode_value(await _call(definition, call), f"the result of activity {call.name!r}")
    except BaseException as error:  # noqa: BLE001
        return _failure_from(error)


def _call(definition: ActivityDefinition, call: RunActivity) -> Any:
    context = WorkflowActivityContext(call)
    if not definition.takes_input:
        return definition.function(context)
    return definition.function(context, decode_value(call.input, definition.input_kind))


def _failure_from(error: BaseException) -> Failure:
    failure = failure_from(error)
    if isinstance(error, NonRetryableError | LimitExceededError):
        return msgspec.structs.replace(failure, retryable=False)
    return failure


def result_of(call: RunActivity, outcome: Payload | Failure | None) -> ActivityResult:
    """The inbox record that an attempt ends in."""
    if isinstance(outcome, Failure):
        return FailActivity(
            instance_id=call.instance_id,
            run_id=call.run_id,
            scheduled=call.scheduled,
            call_id=call.call_id,
            attempt=call.attempt,
            failure=outcome,
        )
    return CompleteActivity(
        instance_id=call.instance_id,
        run_id=call.run_id,
        scheduled=call.scheduled,
        call_id=call.call_id,
        attempt=call.attempt,
        result=outcome,
    )
