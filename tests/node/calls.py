"""Activities that tell where and how they run. At the top of a module, so that other processes find them."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import engine as wf

app = wf.WorkflowRuntime()
arrivals: list[asyncio.Future] = []


@app.activity
def on_a_thread(ctx):
    return threading.current_thread().name


@app.activity
async def on_the_loop(ctx):
    """The first waits for the second: on threads of their own, or one after the other, they never meet."""
    here = asyncio.get_running_loop().create_future()
    arrivals.append(here)
    if len(arrivals) == 2:
        for each in arrivals:
            each.set_result(None)
    await here
    return [threading.current_thread().name, id(asyncio.get_running_loop())]


@app.activity
async def stops_the_loop(ctx):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "after it"


@app.activity(executor="process")
def in_a_process(ctx, number):
    return [os.getpid(), number + 1]


@app.activity(executor="process")
async def awaiting_in_a_process(ctx, number):
    await asyncio.sleep(0)
    return [os.getpid(), number + 1]


@app.activity(executor="process")
def reads(ctx, path):
    """Does not return before somebody has written."""
    return Path(path).read_text()


@app.activity(executor="process")
def dies(ctx):
    os._exit(3)


@app.activity
def what_it_is_told(ctx, text):
    return [ctx.workflow_id, ctx.task_id, ctx.attempt, ctx.idempotency_key, text]


@app.activity
def returns_too_much(ctx):
    return "x" * 1_000_000


@app.activity
def gives_up(ctx):
    raise wf.NonRetryableError("never")


@app.activity
def fails(ctx):
    raise ValueError("not now")
