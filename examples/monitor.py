"""Monitor: an eternal workflow that looks, acts, sleeps, and starts over with an empty history.

engine dev examples.monitor:app
engine start status_monitor_workflow --input '{"target": "web", "is_healthy": true}' --id web
engine history web                   # ever the same few events: each round is a run of its own
engine terminate web
"""

import random
from dataclasses import dataclass
from datetime import timedelta

import engine as wf

app = wf.WorkflowRuntime()


@dataclass
class TargetStatus:
    target: str
    is_healthy: bool


@app.workflow
def status_monitor_workflow(ctx: wf.DaprWorkflowContext, status: TargetStatus):
    # poll a status endpoint associated with this target
    answer = yield ctx.call_activity(check_status, input=status)
    if not ctx.is_replaying:
        print(f"Target '{status.target}' is {answer}.")

    if answer == "healthy":
        status.is_healthy = True
        next_sleep_interval = 60  # check less frequently when healthy
    else:
        if status.is_healthy:
            status.is_healthy = False
            ctx.call_activity(send_alert, input=f"Target '{status.target}' is unhealthy!")
        next_sleep_interval = 5  # check more frequently when unhealthy

    yield ctx.create_timer(fire_at=ctx.current_utc_datetime + timedelta(seconds=next_sleep_interval))

    # restart from the beginning with a new TargetStatus input
    ctx.continue_as_new(status)


@app.activity
def check_status(ctx, _) -> str:
    return random.choice(["healthy", "unhealthy"])


@app.activity
def send_alert(ctx, message: str):
    print(f"*** Alert: {message}")
