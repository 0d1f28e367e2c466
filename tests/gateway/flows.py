"""Workflows beside those of the clients' tests: those of Dapr's documentation, and parents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from engine.core.context import WorkflowContext
from tests.client.running import app, chain


@app.workflow(name="OrderProcessingWorkflow")
def order_processing(context: WorkflowContext, order: Any):
    yield context.wait_for_external_event("paid")
    return {"Processed": True}


@app.workflow
def parent(context: WorkflowContext, count: int):
    children = [
        context.call_child_workflow(chain, input=number, instance_id=f"{context.instance_id}-{number}")
        for number in range(count)
    ]
    total = 0
    for child in children:
        total += yield child
    return total


@app.workflow
def sleeper(context: WorkflowContext, seconds: float):
    yield context.create_timer(timedelta(seconds=seconds))
    return "awake"
