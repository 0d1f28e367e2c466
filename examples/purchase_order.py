"""External system interaction: a purchase order that waits for a manager, but not for ever.

    engine dev examples.purchase_order:app
    engine start purchase_order_workflow --id order-1 \\
        --input '{"cost": 2000, "product": "laptop", "quantity": 1}'
    engine raise order-1 approval_received --data '{"approver": "Jane Doe"}'
    engine wait order-1
    engine history order-1

Without an approval within 24 hours (`approval_seconds`, if the order says so) its stock is released again.
"""

from dataclasses import dataclass
from datetime import timedelta

import engine as wf

app = wf.WorkflowRuntime()
DAY_SECONDS = 24 * 60 * 60


@dataclass
class Order:
    cost: float
    product: str
    quantity: int
    approval_seconds: float = DAY_SECONDS

    def __str__(self):
        return f"{self.product} ({self.quantity})"


@dataclass
class Approval:
    approver: str

    @staticmethod
    def from_dict(fields):
        return Approval(**fields)


@app.workflow
def purchase_order_workflow(ctx: wf.DaprWorkflowContext, order: Order):
    # Orders under $1000 are auto-approved
    if order.cost < 1000:
        yield ctx.call_activity(place_order, input=order)
        return "Auto-approved"

    # Orders of $1000 or more require manager approval
    yield ctx.call_activity(reserve_stock, input=order)
    yield ctx.call_activity(send_approval_request, input=order)
    ctx.set_custom_status("waiting for approval")

    # Approvals must be received in time or the order will be canceled
    approval_event = ctx.wait_for_external_event("approval_received")
    timeout_event = ctx.create_timer(timedelta(seconds=order.approval_seconds))
    winner = yield wf.when_any([approval_event, timeout_event])
    if winner == timeout_event:
        # Undo what was done for the order so far
        yield ctx.call_activity(release_stock, input=order)
        ctx.set_custom_status("cancelled")
        return "Cancelled"

    # The order was approved
    yield ctx.call_activity(place_order, input=order)
    ctx.set_custom_status("placed")
    approval_details = Approval.from_dict(approval_event.get_result())
    return f"Approved by '{approval_details.approver}'"


@app.activity
def reserve_stock(_, order: Order) -> None:
    print(f"*** Reserving stock: {order}")


@app.activity
def send_approval_request(_, order: Order) -> None:
    print(f"*** Sending approval request for order: {order}")


@app.activity
def place_order(_, order: Order) -> None:
    print(f"*** Placing order: {order}")


@app.activity
def release_stock(_, order: Order) -> None:
    print(f"*** Releasing stock: {order}")
