"""Request escalation: small orders pass, larger ones wait up to seven days for a human.

engine dev examples.request_escalation:app
engine start request_escalation --input '{"id": "r-1", "amount": 5000}' --id r-1
engine raise r-1 human_approval --data '{"id": "r-1", "approved": true}'
engine wait r-1
"""

import json
from datetime import timedelta

import engine as wf
from engine import DaprWorkflowContext, when_any

wfr = app = wf.WorkflowRuntime()


@wfr.workflow(name="request_escalation")
def request_escalation_workflow(ctx: DaprWorkflowContext, order_str: str):
    order = json.loads(order_str) if isinstance(order_str, str) else order_str
    amount = order.get("amount", 0)

    # Auto-approve orders under $1000
    if amount < 1000:
        yield ctx.call_activity(auto_approve_activity, input=order)
        return

    # Orders $1000+ require human approval (7 days max)
    approval_event = ctx.wait_for_external_event("human_approval")
    timeout = ctx.create_timer(timedelta(days=7))
    winner = yield when_any([approval_event, timeout])

    # Handle approval event or timeout
    if winner == timeout:
        yield ctx.call_activity(handle_timeout_activity, input=order)
        return

    approval_result = approval_event.get_result()
    yield ctx.call_activity(process_approval_activity, input=approval_result)


@wfr.activity
def auto_approve_activity(ctx, order):
    print(f"Request {order.get('id')} is approved automatically.")


@wfr.activity
def process_approval_activity(ctx, approval):
    answer = "approved" if approval.get("approved") else "rejected"
    print(f"Request {approval.get('id')} is {answer} by a human.")


@wfr.activity
def handle_timeout_activity(ctx, order):
    print(f"Nobody has answered request {order.get('id')} in time.")
