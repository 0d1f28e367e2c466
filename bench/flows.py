"""The workflows that are measured. Activities do nothing to speak of: the engine is what takes time."""

import os
import time
from datetime import timedelta

import engine as wf

app = wf.WorkflowRuntime()
_marks: dict[str, float] = {}


@app.activity
def inc(_: wf.WorkflowActivityContext, x: int) -> int:
    return x + 1


@app.activity
def ident(_: wf.WorkflowActivityContext, x: int) -> int:
    return x


@app.activity
def slow_inc(_: wf.WorkflowActivityContext, call: dict) -> int:
    """Sleeps, and notes its begin and end by one write each, so that a kill leaves whole lines."""
    _note(call["log"], f"{call['id']} {call['step']} S {os.getpid()}\n")
    time.sleep(call["ms"] / 1000)
    _note(call["log"], f"{call['id']} {call['step']} E {os.getpid()}\n")
    return call["x"] + 1


@app.activity
def nap(_: wf.WorkflowActivityContext, call: dict) -> list:
    """Sleeps a little. By the worker's clock: what lies between two of them is the engine's."""
    began = time.time()
    time.sleep(call["ms"] / 1000)
    is_last = os.path.exists(call["until"])  # noqa: PTH110 -- pathlib would take longer than the call
    return [round(began, 5), round(time.time(), 5), is_last]


@app.activity
def leave_mark(_: wf.WorkflowActivityContext, path: str) -> str:
    _note(path, f"{time.time()}\n")
    return "done"


@app.workflow
def chain(ctx: wf.WorkflowContext, x: int):
    for _ in range(3):
        x = yield ctx.call_activity(inc, input=x)
    return x


@app.workflow
def sequence(ctx: wf.WorkflowContext, steps: int):
    x = 0
    for _ in range(steps):
        x = yield ctx.call_activity(inc, input=x)
    return x


@app.workflow
def fanout(ctx: wf.WorkflowContext, n: int):
    return sum((yield wf.when_all([ctx.call_activity(ident, input=i) for i in range(n)])))


@app.workflow
def event(ctx: wf.WorkflowContext, x: int):
    return x + (yield ctx.wait_for_external_event("deliver"))


@app.workflow
def timer(ctx: wf.WorkflowContext, seconds: float):
    # The worker's own clock, read once: what is measured is how late this code goes on.
    _marks.setdefault(ctx.instance_id, time.time())
    yield ctx.create_timer(timedelta(seconds=seconds))
    return time.time() - _marks[ctx.instance_id] - seconds


@app.workflow
def sleeper(ctx: wf.WorkflowContext, seconds: float):
    """How late it goes on, by when its timer was due on record, and by when its code began."""
    _marks.setdefault(ctx.instance_id, time.time())
    due_at = (ctx.current_utc_datetime + timedelta(seconds=seconds)).timestamp()
    yield ctx.create_timer(timedelta(seconds=seconds))
    now = time.time()
    return [now - due_at, now - _marks.pop(ctx.instance_id, now) - seconds]


@app.workflow
def stepper(ctx: wf.WorkflowContext, call: dict):
    """Step after step until its activity sees that the others are done; returns when each began and ended."""
    marks = []
    while True:
        began, ended, is_last = yield ctx.call_activity(nap, input=call)
        marks.append([began, ended])
        if is_last:
            return marks


@app.workflow
def finisher(ctx: wf.WorkflowContext, path: str):
    return (yield ctx.call_activity(leave_mark, input=path))


@app.workflow
def slowchain(ctx: wf.WorkflowContext, given: list):
    x, ms, log = given
    for step in range(3):
        call = {"x": x, "ms": ms, "log": log, "id": ctx.instance_id, "step": step}
        x = yield ctx.call_activity(slow_inc, input=call)
    return x


@app.workflow
def parent(ctx: wf.WorkflowContext, x: int):
    return (yield ctx.call_child_workflow(child, input=x))


@app.workflow
def child(ctx: wf.WorkflowContext, x: int):
    return (yield ctx.call_activity(inc, input=x))


def _note(path: str, line: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
