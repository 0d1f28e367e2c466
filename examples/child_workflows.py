"""Child workflows: a shipment per parcel, each with a history of its own, all under one order.

engine dev examples.child_workflows:app
engine start order_workflow --input '["books", "lamp"]' --id order-1 --wait
engine list                          # the order and its shipments
engine start order_workflow --input '["books", "anvil"]' --id order-2 --wait
"""

import engine as wf

app = wf.WorkflowRuntime()


@app.workflow
def order_workflow(ctx: wf.DaprWorkflowContext, parcels: list[str]):
    shipments = [
        ctx.call_child_workflow(shipment_workflow, input=parcel, instance_id=f"{ctx.instance_id}:{number}")
        for number, parcel in enumerate(parcels, 1)
    ]
    try:
        labels = yield wf.when_all(shipments)
    except wf.TaskFailedError as e:
        # when_all waits for every child, so what did ship is known by now
        shipped = [task.get_result() for task in shipments if not task.is_failed]
        return {"shipped": shipped, "problem": e.details.message}
    return {"shipped": labels}


@app.workflow
def shipment_workflow(ctx: wf.DaprWorkflowContext, parcel: str):
    label = yield ctx.call_activity(print_label, input=parcel)
    yield ctx.call_activity(hand_to_carrier, input=label)
    return label


@app.activity
def print_label(ctx, parcel: str) -> str:
    # The key is the same for every attempt of this call: a printer that knows it prints one label only.
    return f"{parcel}-{ctx.idempotency_key[:4]}"


@app.activity
def hand_to_carrier(ctx, label: str) -> None:
    if label.startswith("anvil"):
        raise wf.NonRetryableError("the carrier takes no anvils")
    print(f"Handed over: {label}")
