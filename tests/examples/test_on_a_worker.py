"""Every example from start to outcome through a real worker: on the embedded log, and on Kafka."""

import threading
import time

import pytest

from engine.client import WorkflowStatus
from tests.examples.harness import on_a_directory, on_kafka

PATIENCE_SECONDS = 30


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def client(request, tmp_path_factory):
    if request.param == "embedded":
        with on_a_directory(tmp_path_factory.mktemp("examples")) as client:
            yield client
    else:
        with on_kafka(request.getfixturevalue("bootstrap_servers")) as client:
            yield client


@pytest.fixture
def run(client):
    """Starts a workflow and waits for its output."""

    def start_and_wait(workflow, value, **options):
        instance_id = client.schedule_new_workflow(workflow, input=value, **options)
        return outcome(client, instance_id).output

    return start_and_wait


def outcome(client, instance_id):
    return client.wait_for_workflow_completion(instance_id, timeout_in_seconds=PATIENCE_SECONDS)


def kinds(client, instance_id):
    return [event.event_type for event in client.get_workflow_history(instance_id)]


def until(client, instance_id, is_met):
    """Looks until the instance is where the test goes on: nobody is woken by a step in between."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        state = client.get_workflow_state(instance_id)
        if state is not None and is_met(state):
            return state
        assert time.monotonic() < deadline, f"it stays {state}"
        threading.Event().wait(0.02)


def test_a_chain_hands_results_on(run):
    assert run("task_chain_workflow", 42) == [43, 86, 84]


def test_a_chain_that_fails_is_compensated_after_its_retries(client):
    instance_id = client.schedule_new_workflow("task_chain_workflow", input=-1)
    state = outcome(client, instance_id)
    assert state.runtime_status is WorkflowStatus.FAILED
    assert "there is no work in nothing" in state.failure_details.message
    events = client.get_workflow_history(instance_id)
    assert sum(event.event_type == "ActivityRetried" for event in events) == 2
    assert [event.name for event in events if event.event_type == "ActivityScheduled"] == [
        "step1",
        "step2",
        "step3",
        "error_handler",
    ]


def test_a_batch_is_worked_on_in_parallel_and_summed_up(run):
    assert run("batch_processing_workflow", 50) == 2 * sum(range(1, 51))


def test_a_small_order_needs_no_approval(run):
    assert run("purchase_order_workflow", {"cost": 10, "product": "pen", "quantity": 3}) == "Auto-approved"


def test_a_large_order_is_placed_once_it_is_approved(client):
    order = {"cost": 2000, "product": "laptop", "quantity": 1}
    instance_id = client.schedule_new_workflow("purchase_order_workflow", input=order)
    until(client, instance_id, lambda state: state.serialized_custom_status == "waiting for approval")
    client.raise_workflow_event(instance_id, "Approval_Received", data={"approver": "Jane Doe"})
    state = outcome(client, instance_id)
    assert state.output == "Approved by 'Jane Doe'"
    assert state.serialized_custom_status == "placed"


def test_a_large_order_that_nobody_approves_is_cancelled_and_its_stock_released(client):
    order = {"cost": 2000, "product": "laptop", "quantity": 1, "approval_seconds": 0.1}
    instance_id = client.schedule_new_workflow("purchase_order_workflow", input=order)
    assert outcome(client, instance_id).output == "Cancelled"
    events = client.get_workflow_history(instance_id)
    assert "release_stock" in [event.name for event in events]
    assert "place_order" not in [event.name for event in events]


def test_a_request_is_answered_by_a_human_or_needs_none(client, run):
    assert run("request_escalation", {"id": "r", "amount": 10}) is None
    request = '{"id": "r", "amount": 5000}'
    instance_id = client.schedule_new_workflow("request_escalation", input=request)
    client.raise_workflow_event(instance_id, "human_approval", data={"id": "r", "approved": True})
    assert outcome(client, instance_id).runtime_status is WorkflowStatus.COMPLETED
    assert "process_approval_activity" in [event.name for event in client.get_workflow_history(instance_id)]


def test_an_order_ships_its_parcels_as_children(client, run):
    labels = run("order_workflow", ["books", "lamp"], instance_id="order-1")["shipped"]
    assert [label.split("-")[0] for label in labels] == ["books", "lamp"]
    assert outcome(client, "order-1:2").output == labels[1]


def test_an_order_says_which_parcel_did_not_ship(run):
    outcome = run("order_workflow", ["books", "anvil"], instance_id="order-2")
    assert [label.split("-")[0] for label in outcome["shipped"]] == ["books"]
    assert outcome["problem"].endswith("the carrier takes no anvils")


def test_a_monitor_looks_sleeps_and_can_be_ended(client):
    instance_id = client.schedule_new_workflow(
        "status_monitor_workflow", input={"target": "web", "is_healthy": True}
    )
    client.wait_for_workflow_start(instance_id, timeout_in_seconds=PATIENCE_SECONDS)
    until(client, instance_id, lambda _: "TimerCreated" in kinds(client, instance_id))
    client.terminate_workflow(instance_id, output="enough")
    state = outcome(client, instance_id)
    assert (state.runtime_status, state.output) == (WorkflowStatus.TERMINATED, "enough")
