"""Workflows that end the process they run in, and one that does not. MENDED is what a new build changes."""

from __future__ import annotations

import asyncio
import os

import engine as wf

app = wf.WorkflowRuntime()
MENDED = False


@app.activity
def echo(ctx, value):
    return value


@app.activity
def exits(ctx, _):
    os._exit(3)


@app.activity
def interrupts(ctx, _):
    raise KeyboardInterrupt


@app.activity
async def cancels(ctx, _):
    raise asyncio.CancelledError


@app.workflow
def hello(ctx, value):
    return (yield ctx.call_activity(echo, input=value))


@app.workflow
def pill(ctx, _):
    """Dies in its first step."""
    if not MENDED:
        os._exit(3)
    return (yield ctx.call_activity(echo, input="mended"))


@app.workflow
def late_pill(ctx, _):
    """Dies in its second step."""
    yield ctx.call_activity(echo, input=1)
    if not MENDED:
        os._exit(3)
    return "mended"


@app.workflow
def bad_activity(ctx, name):
    return (yield ctx.call_activity(name))
