"""The app that the integration tests run: small workflows, each for one thing that may go wrong."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import engine as wf

app = wf.WorkflowRuntime()


@app.activity
def increment(ctx, number):
    return number + 1


@app.activity
def increment_slowly(ctx, number):
    time.sleep(0.05)
    return number + 1


@app.activity
def process_id(ctx, _):
    return os.getpid()


@app.workflow
def chain(ctx, number):
    for _ in range(3):
        number = yield ctx.call_activity(increment, input=number)
    return number


@app.workflow
def addressed(ctx, app_id):
    """Calls with the name of an app: its own is one that it may name."""
    number = yield ctx.call_activity(increment, input=1, app_id=app_id)
    return (yield ctx.call_child_workflow(chain, input=number, app_id=app_id))


@app.workflow
def slow_chain(ctx, number):
    for _ in range(3):
        number = yield ctx.call_activity(increment_slowly, input=number)
    return number


@app.workflow
def ask_process(ctx, _):
    return (yield ctx.call_activity(process_id))


@app.workflow
def parent(ctx, number):
    return (yield ctx.call_child_workflow(chain, input=number)) * 10


@app.workflow
def waiter(ctx, _):
    """Adds what events bring, until one brings 0."""
    total = 0
    while True:
        number = yield ctx.wait_for_external_event("add")
        if number == 0:
            return total
        total = yield ctx.call_activity(increment, input=total + number - 1)


@app.activity(executor="process")
def process_id_of_pool(ctx, _):
    return os.getpid()


@app.workflow
def ask_pool(ctx, _):
    """Which process of the pool ran an activity; then waits, so that its worker can be killed."""
    answer = yield ctx.call_activity(process_id_of_pool)
    ctx.set_custom_status(str(answer))
    yield ctx.wait_for_external_event("go")
    return answer


@app.workflow
def sleeper(ctx, ms):
    yield ctx.create_timer(timedelta(milliseconds=ms))
    return "awake"
