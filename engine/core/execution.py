"""One run's live generator: it observes events and proposes actions. A disposable cache of its own replay.

Rules
* It changes by `observe` alone, live and in replay: the same events give the same proposals, in the same
  order.
* An event that brings news (an input) may only come when every proposal has been recorded; an event that
  records a proposal must match the oldest one. Anything else is a NonDeterminismError, and this object is
  spent.
* While suspended, news is held; it is observed at the resumption, in order.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast

from engine.core import limits, matching
from engine.core.awaiting import EventWait, Mailbox, timed_out
from engine.core.context import WorkflowContext
from engine.core.failing import failure_from
from engine.core.proposals import Proposals
from engine.core.registry import Registry, WorkflowDefinition, async_text
from engine.core.tasks import Task
from engine.core.values import decode_value, encode_value
from engine.errors import LimitExceededError, TaskFailedError
from engine.model import actions as ac
from engine.model import events as ev
from engine.model.failure import Failure, Payload, failure_of

# What a generator is begun with: its result is None, as the first thing sent must be. Shared, never settled.
_BEGIN: Task[None] = Task()
# How often code may put off its end: by nested blocks that wait when they should clean up.
CLOSE_TRIES = 100
_ASYNC_TYPES = (CoroutineType, AsyncGeneratorType, Awaitable)


class Execution:
    """The generator of one run, with everything it waits for."""

    def __init__(self, registry: Registry, instance_id: str) -> None:
        self.instance_id = instance_id
        self.run_id = ""
        self.workflow = ""
        self.now_ms = 0
        self.is_replaying = False
        self.known_patches: frozenset[str] = frozenset()
        self.mailbox = Mailbox()
        self._registry = registry
        self.proposals = Proposals()
        self._generator: GeneratorType[Any, Any, Any] | None = None
        self._awaiting: Task[Any] | None = None
        self._held: deque[ev.Recorded] = deque()
        self._is_suspended = False
        self._is_over = False
        self._is_closing = False
        self._continuation: tuple[Payload | None, bool] | None = None
        self._custom_status: str | None = None
        self._patches: dict[str, bool] = {}
        self._input: Payload | None = None
        self._is_scheduled = False
        self._saved_events_due = 0
        self._depth = 0

    # --- the turn's side ---

    def observe(self, recorded: ev.Recorded) -> None:
        """Takes in one event. Raises NonDeterminismError where code and history disagree."""
        kind = type(recorded.event)
        if kind in matching.MATCHERS:
            self.proposals.confirm(recorded)
            return
        if kind in matching.UNOBSERVED:
            return
        self.proposals.expect_none(recorded)
        if kind is ev.InstanceSuspended:
            self._is_suspended = True
        elif kind is ev.InstanceResumed:
            self._resume(recorded)
        elif kind is ev.InstanceTerminated:
            self.close()
        elif self._is_suspended:
            self._hold(recorded)
        else:
            self._deliver(recorded)

    def finish_replay(self) -> None:
        """The history is at its end. Raises NonDeterminismError if the code wants more than it holds."""
        self.proposals.expect_none(None)
        self.is_replaying = False

    def close(self) -> None:
        """Ends the generator now.

        The user's `finally` blocks run. What they ask for goes nowhere, and what they wait for never comes:
        were it refused, code that catches whatever is raised and tries again would never end.
        """
        self._is_over = True
        generator, self._generator = self._generator, None
        if generator is None:
            return
        proposals, self.proposals = self.proposals, Proposals()
        self._is_closing = True
        try:
            # A yield in a `finally` block puts the end off, to the next try.
            for _ in range(CLOSE_TRIES):
                if generator.gi_frame is None:
                    break
                _close(generator)
        finally:
            # Code that catches even its end is ended once more as it is freed: here, not behind our back.
            del generator
            self._is_closing = False
            self.proposals = proposals

    # --- the context's side: proposals ---

    def check_app(self, app_id: str | None) -> None:
        """Refuses a call to another app, until other apps can be reached."""
        if app_id is not None and app_id != self._registry.app_id:
            message = (
                f"expected app_id to be None or this app, {self._registry.app_id!r}, but got {app_id!r}: "
                "calls to other apps are not available yet"
            )
            raise NotImplementedError(message)

    def propose_activity(self, action: ac.CallActivity, result_kind: object) -> Task[Any]:
        """A task for the activity's result."""
        self._check_alive()
        return self.proposals.add_call(action, result_kind).task

    def propose_child(self, action: ac.CallChild) -> Task[Any]:
        """A task for the child's output."""
        if self._depth >= limits.DEPTH_MAX:
            limits.check(
                "the nesting of child workflows", self._depth + 1, limits.DEPTH_MAX, "nest less deeply"
            )
        self._check_alive()
        return self.proposals.add_call(action, None).task

    def propose_timer(self, due_at_ms: int, event_name: str | None = None) -> Task[None]:
        """A task for the timer."""
        self._check_alive()
        return self.proposals.add_call(ac.CreateTimer(due_at_ms=due_at_ms, event_name=event_name), None).task

    def propose_continuation(self, payload: Payload | None, *, save_events: bool) -> Task[Any]:
        """Ends the run when the code next returns or yields."""
        self._check_alive()
        self._continuation = (payload, save_events)
        return Task()

    def set_custom_status(self, status: str | None) -> None:
        """Proposes the status unless it is the one shown; of several in a row only the last counts."""
        self._check_alive()
        if not self.proposals.withdraw_status() and status == self._custom_status:
            return
        self._custom_status = status
        self.proposals.add(ac.SetCustomStatus(status=status))

    def is_patched(self, name: str) -> bool:
        """True live; in replay, what the history says. The first answer holds for the run."""
        self._check_alive()
        known = self._patches.get(name)
        if known is not None:
            return known
        # Also where the answer is no: a replay must come to the same end as the code did live.
        self.proposals.expect_room(len(name))
        patched = name in self.known_patches if self.is_replaying else True
        self._patches[name] = patched
        if patched:
            self.proposals.add(ac.ApplyPatch(name=name))
        return patched

    def wait_for_event(self, name: str, due_at_ms: int | None) -> Task[Any]:
        """The oldest unconsumed event of that name, or a wait for the next."""
        self._check_alive()
        task: Task[Any] = Task()
        taken = self.mailbox.take(name)
        if taken is not None:
            _complete(task, taken[1], None)
            return task
        if due_at_ms is not None and due_at_ms <= self.now_ms:
            task.fail(timed_out(name))
            return task
        wait = EventWait(task=task, name=name)
        if due_at_ms is not None:
            wait.timer = self.proposals.add_call(ac.CreateTimer(due_at_ms=due_at_ms, event_name=name), None)
            wait.timer.wait = wait
        self.mailbox.expect(wait)
        return task

    def _check_alive(self) -> None:
        if self._is_over and not self._is_closing:
            message = "this run is over; its context can't be used any more"
            raise RuntimeError(message)

    # --- observing ---

    def _resume(self, recorded: ev.Recorded) -> None:
        self._is_suspended = False
        self.now_ms = recorded.recorded_at_ms
        # One by one, so that a continuation in between finds the rest still here and takes its events along.
        while self._held and not self._is_over:
            held = self._held.popleft()
            if type(held.event) is ev.EventRaised:
                self.mailbox.count_held(held.event.data, -1)
            self._deliver(held)

    def _hold(self, recorded: ev.Recorded) -> None:
        self._held.append(recorded)
        if type(recorded.event) is ev.EventRaised:
            self.mailbox.count_held(recorded.event.data, 1)

    def _deliver(self, recorded: ev.Recorded) -> None:
        if self._is_over:
            return
        self.now_ms = max(self.now_ms, recorded.recorded_at_ms)
        _INPUTS[type(recorded.event)](self, recorded)

    def _on_started(self, recorded: ev.Recorded) -> None:
        event = recorded.event
        assert type(event) is ev.InstanceStarted
        self.run_id, self.workflow = recorded.run_id, event.workflow
        self._input, self._depth = event.input, event.depth
        self._custom_status = event.custom_status
        self._saved_events_due = event.saved_events
        self._is_scheduled = event.start_at_ms is not None
        self._begin_when_ready()

    def _on_result(self, recorded: ev.Recorded) -> None:
        event = recorded.event
        assert isinstance(event, (ev.ActivityCompleted, ev.ChildCompleted))
        call = self.proposals.take(event.scheduled)
        if call is not None:
            _complete(call.task, event.result, call.result_kind)
            self._advance()

    def _on_failure(self, recorded: ev.Recorded) -> None:
        event = recorded.event
        assert isinstance(event, (ev.ActivityFailed, ev.ChildFailed))
        call = self.proposals.take(event.scheduled)
        if call is not None:
            what = "Activity task" if call.kind == "activity" else "Child workflow"
            text = f"{self.instance_id}: {what} #{event.scheduled} failed: {event.failure.words}"
            call.task.fail(TaskFailedError(text, event.failure))
            self._advance()

    def _on_timer(self, recorded: ev.Recorded) -> None:
        event = recorded.event
        assert type(event) is ev.TimerFired
        if self._is_scheduled and event.timer == 1:
            self._is_scheduled = False
            self._begin_when_ready()
            return
        call = self.proposals.take(event.timer)
        if call is None:
            return
        if call.wait is not None:
            self.mailbox.forget(call.wait)
            call.wait.task.fail(timed_out(call.wait.name))
        call.task.complete(None)
        self._advance()

    def _on_event(self, recorded: ev.Recorded) -> None:
        event = recorded.event
        assert type(event) is ev.EventRaised
        wait = self.mailbox.offer(event.name, event.data)
        if wait is None:
            if self._saved_events_due:
                self._saved_events_due -= 1
                self._begin_when_ready()
            return
        if wait.timer is not None:
            self.proposals.add_cancellation(wait.timer)
        _complete(wait.task, event.data, None)
        self._advance()

    # --- running the code ---

    def _begin_when_ready(self) -> None:
        if not self._is_scheduled and not self._saved_events_due:
            self._begin()

    def _begin(self) -> None:
        definition = self._registry.workflows.get(self.workflow)
        if definition is None:
            known = ", ".join(sorted(self._registry.workflows)[:20]) or "none"
            text = f"expected a registered workflow, but {self.workflow!r} is not one of: {known}"
            self._fail(failure_of("WorkflowNotRegisteredError", text, retryable=False))
            return
        try:
            outcome = self._call(definition)
        except BaseException as error:  # noqa: BLE001 -- its own outcome; no signal raises in a worker
            self._fail(failure_from(error))
            return
        # By type, for what an object says of its class may be code that raises.
        if issubclass(type(outcome), GeneratorType):
            self._generator = cast("GeneratorType[Any, Any, Any]", outcome)
            self._step(_BEGIN)
            self._advance()
        elif issubclass(type(outcome), _ASYNC_TYPES):
            close = getattr(outcome, "close", None)
            if close is not None:
                close()
            self._fail(failure_of("TypeError", async_text(self.workflow), retryable=False))
        else:
            self._return(outcome)

    def _call(self, definition: WorkflowDefinition) -> object:
        # Known to the code alone: were it known here too, neither would be freed before the collector comes.
        context = WorkflowContext(self)
        if not definition.takes_input:
            return definition.function(context)
        return definition.function(context, decode_value(self._input, definition.input_kind))

    def _advance(self) -> None:
        """Feeds the code what it waits for, for as long as that is there."""
        steps = 0
        while self._awaiting is not None and self._awaiting.is_complete and not self._is_over:
            task, self._awaiting = self._awaiting, None
            steps += 1
            if steps > limits.TURN_STEPS_MAX:
                # It waits for nothing, and would keep every other run waiting for ever.
                self._fail(failure_from(_restless(steps)))
                return
            self._step(task)

    def _step(self, task: Task[Any]) -> None:
        """Runs the code with the outcome of `task` to its next yield, or its end."""
        generator = self._generator
        assert generator is not None
        try:
            awaited = task.resume(generator)
        except StopIteration as stop:
            self._return(stop.value)
            return
        except BaseException as error:  # noqa: BLE001
            self._fail(failure_from(error))
            return
        if self._continuation is not None:
            self._return(None)
        elif issubclass(type(awaited), Task):
            self._awaiting = awaited
        else:
            text = (
                f"expected workflow {self.workflow!r} to yield tasks, but it yielded {type(awaited).__name__}"
            )
            self._fail(failure_of("TypeError", text, retryable=False))

    def _return(self, value: object) -> None:
        if self._continuation is not None:
            payload, save_events = self._continuation
            saved = (*self.mailbox.unconsumed(), *self._held_events()) if save_events else ()
            action: ac.Action = ac.ContinueAsNew(input=payload, saved_events=saved)
        else:
            try:
                action = ac.CompleteInstance(output=encode_value(value, f"the output of {self.workflow!r}"))
            except Exception as error:  # noqa: BLE001 -- an output that can't be recorded fails the run, with the reason
                action = ac.FailInstance(failure=failure_from(error))
        self.close()
        self.proposals.add(action)

    def _held_events(self) -> list[tuple[str, Payload | None]]:
        events = [held.event for held in self._held]
        return [(event.name, event.data) for event in events if type(event) is ev.EventRaised]

    def _fail(self, failure: Failure) -> None:
        self.close()
        self.proposals.add(ac.FailInstance(failure=failure))


def _close(generator: "GeneratorType[Any, Any, Any]") -> None:
    with suppress(BaseException):  # the code of a run that is over has no one left to tell
        generator.close()


def _restless(steps: int) -> LimitExceededError:
    what = "the number of finished tasks yielded between two waits"
    return LimitExceededError(what, steps, limits.TURN_STEPS_MAX, "yield a task that is still to come")


def _complete(task: Task[Any], payload: Payload | None, kind: object) -> None:
    """A result that can't be decoded fails the task rather than the engine."""
    try:
        task.complete(decode_value(payload, kind))
    except BaseException as error:  # noqa: BLE001 -- whatever a converter raises is the workflow's to handle
        task.fail(error)


_INPUTS: dict[type, Callable[[Execution, ev.Recorded], None]] = {
    ev.InstanceStarted: Execution._on_started,
    ev.ActivityCompleted: Execution._on_result,
    ev.ActivityFailed: Execution._on_failure,
    ev.TimerFired: Execution._on_timer,
    ev.ChildCompleted: Execution._on_result,
    ev.ChildFailed: Execution._on_failure,
    ev.EventRaised: Execution._on_event,
}
INPUT_EVENTS = frozenset(_INPUTS)
