"""A world of instances without a log: commands in, turns out, every one of them proved against a replay.

It must never be kinder than the engine: the live seat and a seat rebuilt from the recorded history take
every command side by side, and must come to the same events and effects (invariant I6). Workflow code under
test therefore runs more than once, as it would in an owner.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from engine.codec import avro
from engine.core.apply import apply
from engine.core.decide import Seat
from engine.core.registry import Registry
from engine.core.turn import Moment, Turn, needs_execution, replay, take_turn
from engine.core.values import decode_value, encode_value
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.failure import Failure, Payload, failure_of
from engine.model.ids import run_id_of_start
from engine.model.state import InstanceState, Status, stub_of
from engine.node.activities import result_of, run_attempt

START_MS = 1_760_000_000_000
Workflow = Callable[..., Any]


def payload(value: object) -> Payload | None:
    """A user's value as its payload."""
    return encode_value(value, "a test's value")


def fold(instance_id: str, history: Iterable[ev.Recorded]) -> InstanceState | None:
    """The state that a history comes to."""
    state: InstanceState | None = None
    for recorded in history:
        state = apply(state, instance_id, recorded)
    return state


class World:
    """Instances, the activities they wait for, their armed timers, and the messages between them."""

    def __init__(self, *functions: Workflow, now_ms: int = START_MS, **activities: Workflow) -> None:
        self.registry = Registry()
        self.now_ms = now_ms
        self.seats: dict[str, Seat] = {}
        self.histories: dict[str, list[ev.Recorded]] = {}
        self.runs: dict[str, list[list[ev.Recorded]]] = {}
        self.calls: list[ef.RunActivity] = []
        self.timers: list[ef.ArmTimer] = []
        self.messages: deque[cm.ChannelMessage] = deque()
        self.offsets = itertools.count()
        for function in functions:
            self.registry.add_workflow(function, None)
        for name, function in activities.items():
            self.registry.add_activity(function, name, "thread")

    # --- commands ---

    def start(
        self,
        workflow: Workflow | str,
        value: object = None,
        *,
        instance_id: str = "i",
        at_ms: int | None = None,
    ) -> Turn:
        """Starts an instance, "i" unless told otherwise."""
        name = workflow if isinstance(workflow, str) else workflow.__name__
        command = cm.StartInstance(
            instance_id=instance_id, workflow=name, input=payload(value), start_at_ms=at_ms
        )
        return self.send(command)

    def raise_event(self, name: str, value: object = None, *, instance_id: str = "i") -> Turn:
        """Brings an external event."""
        return self.send(cm.RaiseEvent(instance_id=instance_id, name=name, data=payload(value)))

    def suspend(self, instance_id: str = "i") -> Turn:
        """Suspends an instance."""
        return self.send(cm.SuspendInstance(instance_id=instance_id))

    def resume(self, instance_id: str = "i") -> Turn:
        """Resumes an instance."""
        return self.send(cm.ResumeInstance(instance_id=instance_id))

    def terminate(self, instance_id: str = "i", value: object = None, *, recursive: bool = True) -> Turn:
        """Terminates an instance."""
        command = cm.TerminateInstance(instance_id=instance_id, output=payload(value), recursive=recursive)
        return self.send(command)

    def purge(self, instance_id: str = "i", *, force: bool = False, recursive: bool = True) -> Turn:
        """Purges an instance."""
        return self.send(cm.PurgeInstance(instance_id=instance_id, recursive=recursive, force=force))

    # --- activities ---

    def call(self, name: str | None = None) -> ef.RunActivity:
        """The oldest attempt that was handed out and has no outcome, of that name."""
        found = next((call for call in self.calls if name in (None, call.name)), None)
        assert found is not None, f"expected a call of {name!r}, but there are {[c.name for c in self.calls]}"
        return found

    def complete(self, value: object = None, *, name: str | None = None) -> Turn:
        """The oldest attempt succeeds."""
        call = self.call(name)
        self.calls.remove(call)
        return self.send(result_of(call, payload(value)))

    def fail(self, message: str = "no luck", *, kind: str = "ValueError", name: str | None = None) -> Turn:
        """The oldest attempt fails."""
        call = self.call(name)
        self.calls.remove(call)
        return self.send(result_of(call, failure_of(kind, message)))

    def run_activities(self) -> None:
        """Runs what was handed out, with the registered functions, and all that follows from it."""
        while self.calls:
            call = self.calls.pop(0)
            definition = self.registry.activities.get(call.name)
            assert definition is not None, f"expected activity {call.name!r} to be registered"
            self.send(result_of(call, run_attempt(definition, call)))
            self.deliver()

    # --- time and messages ---

    def advance(self, **spans: float) -> None:
        """Lets time pass (milliseconds=, seconds=, hours=, days=); what is due fires in order."""
        factors = {"milliseconds": 1, "seconds": 1_000, "hours": 3_600_000, "days": 86_400_000}
        end_ms = self.now_ms + round(sum(factors[unit] * count for unit, count in spans.items()))
        while self.timers:
            timer = min(self.timers, key=lambda each: each.due_at_ms)
            if timer.due_at_ms > end_ms:
                break
            self.timers.remove(timer)
            self.now_ms = max(self.now_ms, timer.due_at_ms)
            self.fire(timer)
        self.now_ms = end_ms

    def fire(self, timer: ef.ArmTimer) -> Turn:
        """A due time comes, be it early or late."""
        return self.send(
            cm.FireTimer(
                instance_id=timer.instance_id,
                run_id=timer.run_id,
                timer=timer.timer,
                due_at_ms=timer.due_at_ms,
            )
        )

    def deliver(self) -> None:
        """Brings messages between instances to their end, in order."""
        while self.messages:
            self.send(self.messages.popleft())

    def settle(self) -> None:
        """Runs activities and brings messages until nothing but time can change anything."""
        while self.calls or self.messages:
            self.deliver()
            self.run_activities()

    # --- one turn ---

    def seat(self, instance_id: str = "i") -> Seat:
        """Where the instance sits."""
        return self.seats.setdefault(instance_id, Seat(instance_id=instance_id))

    def send(self, command: cm.Command) -> Turn:
        """Takes one turn on the live seat and on one rebuilt from history, and compares them."""
        offset = next(self.offsets)
        record = avro.encode_command(command)
        assert avro.decode_command(record) == command
        run_id = run_id_of_start("inbox", 0, offset, self.now_ms)
        moment = Moment(offset=offset, timestamp_ms=self.now_ms, new_run_id=run_id, record=record)
        seat = self.seat(command.instance_id)
        shadow = self.rebuilt(seat, command)
        turn = take_turn(seat, command, moment, self.registry)
        again = take_turn(shadow, command, moment, self.registry)
        assert turn.recorded == again.recorded
        assert turn.effects == again.effects
        assert turn.rejected == again.rejected
        assert shadow.state == seat.state
        self._note(turn)
        if shadow.execution is not None:
            shadow.execution.close()
        return turn

    def rebuilt(self, seat: Seat, command: cm.Command) -> Seat:
        """What an owner that has only the history would work with."""
        history = self.histories.get(seat.instance_id, [])
        if seat.state is None:
            return Seat(instance_id=seat.instance_id, stub=seat.stub)
        state = fold(seat.instance_id, history)
        assert state is not None
        state.history_bytes = seat.state.history_bytes
        assert state == seat.state
        shadow = Seat(instance_id=seat.instance_id, state=state, replay_error=seat.replay_error)
        if shadow.replay_error is None and needs_execution(shadow, command):
            shadow.execution = replay(self.registry, seat.instance_id, history)
        return shadow

    def _note(self, turn: Turn) -> None:
        seat = turn.seat
        for recorded in turn.recorded:
            assert avro.decode_event(avro.encode_event(seat.instance_id, recorded)) == (
                seat.instance_id,
                recorded,
            )
            if recorded.sequence == 1:
                self.histories[seat.instance_id] = []
                self.runs.setdefault(seat.instance_id, []).append(self.histories[seat.instance_id])
            self.histories[seat.instance_id].append(recorded)
        if turn.is_purged:
            self.histories.pop(seat.instance_id, None)
        for effect in turn.effects:
            match effect:
                case ef.RunActivity():
                    self.calls.append(effect)
                case ef.ArmTimer():
                    self.timers.append(effect)
                case ef.SendMessage():
                    self.messages.append(effect.message)
        if seat.state is not None and seat.state.is_finished:
            # What an owner keeps of a finished run.
            seat.stub, seat.state, seat.execution = stub_of(seat.state), None, None

    # --- what came of it ---

    def history(self, instance_id: str = "i") -> list[ev.Event]:
        """The events of the latest run."""
        return [recorded.event for recorded in self.histories[instance_id]]

    def kinds(self, instance_id: str = "i") -> list[str]:
        """The names of the events of the latest run."""
        return [type(event).__name__ for event in self.history(instance_id)]

    def status(self, instance_id: str = "i") -> Status:
        """What a client would be shown."""
        state = fold(instance_id, self.histories[instance_id])
        assert state is not None
        return state.status

    def output(self, instance_id: str = "i") -> Any:
        """The output of a completed or terminated run."""
        last = self.history(instance_id)[-1]
        assert isinstance(last, ev.InstanceCompleted | ev.InstanceTerminated), (
            f"expected an output, but got {last}"
        )
        return decode_value(last.output)

    def failure(self, instance_id: str = "i") -> Failure:
        """How a failed run failed."""
        last = self.history(instance_id)[-1]
        assert isinstance(last, ev.InstanceFailed), f"expected a failure, but got {last}"
        return last.failure

    def custom_status(self, instance_id: str = "i") -> str | None:
        """What the workflow said it is at."""
        state = fold(instance_id, self.histories[instance_id])
        assert state is not None
        return state.custom_status

    def events(self, kind: type, instance_id: str = "i") -> list[Any]:
        """The events of one kind of the latest run."""
        return [event for event in self.history(instance_id) if type(event) is kind]


def refusal(turn: Turn) -> ef.Reason | None:
    """Why a turn's command was refused, None where it was not. A refused command records nothing."""
    if turn.rejected is None:
        return None
    assert turn.recorded == []
    return turn.rejected.reason


def wait(name: str = "go") -> Workflow:
    """A workflow that returns the first event of that name."""

    def waiting(ctx: Any, _value: object) -> Any:
        return (yield ctx.wait_for_external_event(name))

    return waiting


def replaced(recorded: ev.Recorded, **fields: object) -> ev.Recorded:
    """The same record of another event: fields of the event replaced."""
    return msgspec.structs.replace(recorded, event=msgspec.structs.replace(recorded.event, **fields))
