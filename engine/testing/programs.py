"""Random workflow programs as data, and the one workflow that runs them all. Uses only what authors may use.

A program is {"ops": [...]}; each op leaves one entry in the trace, and the trace is the output. What the
trace must be is told by `model`, which shares no code with this module or the engine.
"""

import random
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

from engine.core.context import WorkflowContext
from engine.core.policy import RetryPolicy
from engine.core.registry import Registry
from engine.core.tasks import Task, when_all, when_any
from engine.errors import NonRetryableError, TaskFailedError

WORKFLOW = "program"
ACTIVITY = "work"
DEPTH_MAX = 2

Op = dict[str, Any]
Program = dict[str, Any]
Steps = Generator[Task[Any], Any, Any]


class ProgramError(Exception):
    """A program's own end in failure."""


class WorkError(Exception):
    """An attempt that was told to fail."""


# --- what runs ---


def run_program(ctx: WorkflowContext, program: Program) -> Steps:
    """Interprets `program`."""
    trace = list(program.get("trace", []))
    ops = program["ops"]
    for index, op in enumerate(ops):
        kind = op["op"]
        if kind == "continue":
            rest = {"ops": ops[index + 1 :], "trace": trace}
            ctx.continue_as_new(rest, save_events=True)
            return None
        if kind == "fail":
            raise ProgramError(op["text"])
        trace.append((yield from _OPS[kind](ctx, op)))
    return {"trace": trace}


def do_work(ctx: Any, request: dict[str, Any]) -> int:
    """The activity: fails its first `fails` attempts, then returns twice its value and one."""
    if ctx.attempt <= request.get("fails", 0):
        if request.get("final"):
            raise NonRetryableError("told to fail for good")
        raise WorkError(f"told to fail attempt {ctx.attempt}")
    return int(request["value"]) * 2 + 1


def make_registry() -> Registry:
    """What every owner of a simulation offers."""
    registry = Registry()
    registry.app_id = "sim"
    registry.add_workflow(run_program, WORKFLOW)
    registry.add_activity(do_work, ACTIVITY, "thread")
    return registry


def _retry(op: Op) -> RetryPolicy | None:
    attempts = op.get("attempts", 1)
    if attempts == 1:
        return None
    return RetryPolicy(
        first_retry_interval=timedelta(milliseconds=op.get("wait_ms", 50)),
        max_number_of_attempts=attempts,
        backoff_coefficient=2.0,
    )


def _work(ctx: WorkflowContext, op: Op) -> Task[Any]:
    request = {key: op[key] for key in ("value", "fails", "final") if key in op}
    return ctx.call_activity(ACTIVITY, input=request, retry_policy=_retry(op))


def _activity(ctx: WorkflowContext, op: Op) -> Steps:
    try:
        return ["ok", (yield _work(ctx, op))]
    except TaskFailedError as error:
        return ["failed", error.details.error_type]


def _fan(ctx: WorkflowContext, op: Op) -> Steps:
    try:
        return (yield when_all([_work(ctx, each) for each in op["calls"]]))
    except TaskFailedError as error:
        return ["failed", error.details.error_type]


def _timer(ctx: WorkflowContext, op: Op) -> Steps:
    before = ctx.current_utc_datetime
    yield ctx.create_timer(timedelta(milliseconds=op["ms"]))
    late_enough = ctx.current_utc_datetime - before >= timedelta(milliseconds=op["ms"])
    return ["timer", late_enough]


def _wait(ctx: WorkflowContext, op: Op) -> Steps:
    timeout = None if op.get("timeout_ms") is None else timedelta(milliseconds=op["timeout_ms"])
    try:
        return ["event", (yield ctx.wait_for_external_event(op["name"], timeout=timeout))]
    except TimeoutError:
        return ["timeout"]


def _queue(ctx: WorkflowContext, op: Op) -> Steps:
    found = []
    for _ in range(op["count"]):
        found.append((yield ctx.wait_for_external_event(op["name"])))
    return found


def _race(ctx: WorkflowContext, op: Op) -> Steps:
    tasks: list[Task[Any]] = [
        _work(ctx, {"value": op["value"]}),
        ctx.create_timer(timedelta(milliseconds=op["ms"])),
        ctx.wait_for_external_event(op["name"]),
    ]
    winner = yield when_any(tasks)
    return ["won", [task is winner for task in tasks].index(True)]


def _child(ctx: WorkflowContext, op: Op) -> Steps:
    child_id = ctx.instance_id if op.get("clash") else None
    task = ctx.call_child_workflow(
        WORKFLOW, input=op["program"], instance_id=child_id, retry_policy=_retry(op)
    )
    try:
        return ["child", (yield task)]
    except TaskFailedError as error:
        return ["failed", error.details.error_type]


def _children(ctx: WorkflowContext, op: Op) -> Steps:
    tasks = [ctx.call_child_workflow(WORKFLOW, input=each) for each in op["programs"]]
    return (yield when_all(tasks))


def _status(ctx: WorkflowContext, op: Op) -> Steps:
    ctx.set_custom_status(op["text"])
    return ["status"]
    yield  # a generator, as all ops are


def _chance(ctx: WorkflowContext, op: Op) -> Steps:
    number, name = ctx.random_int(0, 9), ctx.new_guid()
    if ctx.is_patched("chance"):
        yield ctx.create_timer(timedelta(milliseconds=number))
    return ["chance", 0 <= number <= 9 and name.version == 4]


_OPS: dict[str, Callable[[WorkflowContext, Op], Steps]] = {
    "activity": _activity,
    "fan": _fan,
    "timer": _timer,
    "wait": _wait,
    "queue": _queue,
    "race": _race,
    "child": _child,
    "children": _children,
    "status": _status,
    "chance": _chance,
}


# --- what is drawn ---


class Drawing:
    """Draws programs; collects the events that somebody must raise for them: (name, value)."""

    def __init__(self, rng: random.Random) -> None:
        self.events: list[tuple[str, int]] = []
        self._rng = rng
        self._names = 0

    def program(self, depth: int = 0) -> Program:
        """A program of a few ops. Those of children get no events: nobody knows their ids."""
        rng = self._rng
        kinds = ["activity", "activity", "fan", "timer", "status", "chance", "activity"]
        if depth < DEPTH_MAX:
            kinds += ["child", "children"]
        if depth == 0:
            kinds += ["wait", "wait", "queue", "race", "continue", "continue"]
        ops = [self._op(rng.choice(kinds), depth) for _ in range(rng.randint(1, 6 if depth == 0 else 3))]
        if rng.random() < 0.1:
            ops.append({"op": "fail", "text": "as told"})
        return {"ops": ops}

    def _op(self, kind: str, depth: int) -> Op:
        rng = self._rng
        op: Op = {"op": kind}
        if kind == "activity":
            op |= self._call()
        elif kind == "fan":
            op["calls"] = [self._call() for _ in range(rng.randint(0, 6))]
        elif kind == "timer":
            op["ms"] = rng.choice((0, 1, 20, 200, 3_000))
        elif kind in ("wait", "queue", "race"):
            op |= self._waiting(kind)
        elif kind == "child":
            op |= {"program": self.program(depth + 1), "attempts": rng.choice((1, 1, 2))}
            op["clash"] = rng.random() < 0.15
        elif kind == "children":
            programs = [self.program(depth + 1) for _ in range(rng.randint(0, 3))]
            op["programs"] = [{"ops": [o for o in p["ops"] if o["op"] != "fail"]} for p in programs]
        elif kind == "status":
            op["text"] = f"at {rng.randrange(3)}"
        return op

    def _call(self) -> Op:
        rng = self._rng
        call: Op = {"value": rng.randrange(100)}
        if rng.random() < 0.3:
            call |= {"fails": rng.randint(1, 3), "attempts": rng.randint(1, 4)}
            call["final"] = rng.random() < 0.2
        return call

    def _waiting(self, kind: str) -> Op:
        rng = self._rng
        self._names += 1
        name = f"event-{self._names}"
        if kind == "queue":
            count = rng.randint(1, 4)
            self.events += [(name, number) for number in range(count)]
            return {"name": name, "count": count}
        if kind == "race":
            if rng.random() < 0.5:
                self.events.append((name, 1))
            return {"name": name, "ms": rng.choice((1, 50, 1_000)), "value": rng.randrange(100)}
        timeout_ms = rng.choice((None, None, 0, 30, 1_500))
        if timeout_ms is None or rng.random() < 0.6:
            self.events.append((name, rng.randrange(100)))
        return {"name": name, "timeout_ms": timeout_ms}
