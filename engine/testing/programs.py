"""Random workflow programs as data, and the one workflow that runs them all. Uses only what authors may use.

A program is {"ops": [...]}; each op leaves one entry in the trace, and the trace is the output. What the
trace must be is told by `model`, which shares no code with this module or the engine.

The workflow comes in two versions that give the same traces by other steps: a run that one has begun and the
other takes over may go on, may stall, and may meet results of calls that its history never made.
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
BIG_BYTES = 600_000

Op = dict[str, Any]
Program = dict[str, Any]
Steps = Generator[Task[Any], Any, Any]


class ProgramError(Exception):
    """A program's own end in failure."""


class WorkError(Exception):
    """An attempt that was told to fail."""


# --- what runs ---


def interpret(ctx: WorkflowContext, program: Program, code: "Code") -> Steps:
    """Does what `program` says."""
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
        trace.append((yield from _OPS[kind](ctx, op, code)))
    return {"trace": trace}


def run_program(ctx: WorkflowContext, program: Program) -> Steps:
    """The workflow's first version, where nothing kills its process."""
    return interpret(ctx, program, Code())


def do_work(ctx: Any, request: dict[str, Any]) -> Any:
    """The activity: fails its first `fails` attempts, then returns twice its value and one.

    With a `note`, the note beside it; with `big`, more than a record may carry.
    """
    if ctx.attempt <= request.get("fails", 0):
        if request.get("final"):
            raise NonRetryableError("told to fail for good")
        raise WorkError(f"told to fail attempt {ctx.attempt}")
    if request.get("big"):
        return "x" * BIG_BYTES
    answer = int(request["value"]) * 2 + 1
    return {"answer": answer, "note": request["note"]} if "note" in request else answer


class Code:
    """One version of the app's code, as a process loads it. `on_pill` is what a poisonous step does first."""

    def __init__(self, version: int = 0, on_pill: Callable[[], None] | None = None) -> None:
        self.version = version
        self.build = f"build-{version}"
        self.on_pill = on_pill
        self.registry = Registry()
        self.registry.app_id = "sim"

        def program(ctx: WorkflowContext, program: Program) -> Steps:
            return interpret(ctx, program, self)

        self.registry.add_workflow(program, WORKFLOW)
        self.registry.add_activity(do_work, ACTIVITY, "thread")


def make_registry() -> Registry:
    """What every owner offers where the code never changes."""
    return Code().registry


def _retry(op: Op) -> RetryPolicy | None:
    attempts = op.get("attempts", 1)
    if attempts == 1:
        return None
    return RetryPolicy(
        first_retry_interval=timedelta(milliseconds=op.get("wait_ms", 50)),
        max_number_of_attempts=attempts,
        backoff_coefficient=2.0,
    )


def _work(ctx: WorkflowContext, op: Op, code: Code) -> Task[Any]:
    request: dict[str, Any] = {key: op[key] for key in ("value", "fails", "final", "big") if key in op}
    if code.version:
        request["note"] = code.version
    return ctx.call_activity(ACTIVITY, input=request, retry_policy=_retry(op))


def _answer(result: Any) -> Any:
    return result["answer"] if isinstance(result, dict) else result


def _activity(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    try:
        return ["ok", _answer((yield _work(ctx, op, code)))]
    except TaskFailedError as error:
        return ["failed", error.details.error_type]


def _fan(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    try:
        results = yield when_all([_work(ctx, each, code) for each in op["calls"]])
    except TaskFailedError as error:
        return ["failed", error.details.error_type]
    return [_answer(each) for each in results]


def _timer(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    if code.version:
        yield _work(ctx, {"value": 0}, code)
    before = ctx.current_utc_datetime
    yield ctx.create_timer(timedelta(milliseconds=op["ms"]))
    late_enough = ctx.current_utc_datetime - before >= timedelta(milliseconds=op["ms"])
    return ["timer", late_enough]


def _wait(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    timeout = None if op.get("timeout_ms") is None else timedelta(milliseconds=op["timeout_ms"])
    try:
        return ["event", (yield ctx.wait_for_external_event(op["name"], timeout=timeout))]
    except TimeoutError:
        return ["timeout"]


def _queue(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    found = []
    for _ in range(op["count"]):
        found.append((yield ctx.wait_for_external_event(op["name"])))
    return found


def _race(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    tasks: list[Task[Any]] = [
        _work(ctx, {"value": op["value"]}, code),
        ctx.create_timer(timedelta(milliseconds=op["ms"])),
        ctx.wait_for_external_event(op["name"]),
    ]
    winner = yield when_any(tasks)
    return ["won", [task is winner for task in tasks].index(True)]


def _child(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    child_id = ctx.instance_id if op.get("clash") else None
    if op.get("named"):
        # An id of our own choice, taken again by every such call: each takes the place of the one before.
        child_id = f"{ctx.instance_id}:child"
    task = ctx.call_child_workflow(
        WORKFLOW, input=op["program"], instance_id=child_id, retry_policy=_retry(op)
    )
    try:
        return ["child", (yield task)]
    except TaskFailedError as error:
        return ["failed", error.details.error_type]


def _children(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    tasks = [ctx.call_child_workflow(WORKFLOW, input=each) for each in op["programs"]]
    return (yield when_all(tasks))


def _status(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    ctx.set_custom_status(op["text"])
    return ["status"]
    yield  # a generator, as all ops are


def _chance(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    number, name = ctx.random_int(0, 9), ctx.new_guid()
    if ctx.is_patched("chance"):
        yield ctx.create_timer(timedelta(milliseconds=number))
    if code.version and ctx.is_patched("newer"):
        yield ctx.create_timer(timedelta(milliseconds=1))
    return ["chance", 0 <= number <= 9 and name.version == 4]


def _pill(ctx: WorkflowContext, op: Op, code: Code) -> Steps:
    if code.on_pill is not None:
        code.on_pill()
    return ["pill"]
    yield


_OPS: dict[str, Callable[[WorkflowContext, Op, Code], Steps]] = {
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
    "pill": _pill,
}


# --- what is drawn ---


class Drawing:
    """Draws programs; collects the events that somebody must raise for them: (name, value)."""

    def __init__(self, rng: random.Random, *, has_pill: bool = False) -> None:
        self.events: list[tuple[str, int]] = []
        self._rng = rng
        self._names = 0
        self._has_pill = has_pill

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
        if self._has_pill and depth == 0:
            ops.insert(rng.randint(0, len(ops)), {"op": "pill"})
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
            draw = rng.random()
            op |= {"clash": draw < 0.15, "named": 0.15 <= draw < 0.4}
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
        elif rng.random() < 0.02:
            call["big"] = True
        return call

    def _waiting(self, kind: str) -> Op:
        rng = self._rng
        self._names += 1
        name = f"event-{self._names}"
        if kind == "queue":
            count = rng.randint(1, 4)
            # Two events that are equal in all they say are two events.
            are_equal = rng.random() < 0.5
            self.events += [(name, 7 if are_equal else number) for number in range(count)]
            return {"name": name, "count": count}
        if kind == "race":
            if rng.random() < 0.5:
                self.events.append((name, 1))
            return {"name": name, "ms": rng.choice((1, 50, 1_000)), "value": rng.randrange(100)}
        timeout_ms = rng.choice((None, None, 0, 30, 1_500))
        if timeout_ms is None or rng.random() < 0.6:
            self.events.append((name, rng.randrange(100)))
        return {"name": name, "timeout_ms": timeout_ms}
