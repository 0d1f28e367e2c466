"""The client against a real worker, on Kafka and on the embedded log."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from engine.client import UnreachableError, WorkflowClient, WorkflowFailedError, WorkflowStatus
from engine.client.errors import CLOSED
from engine.client.state import utc
from engine.errors import InstanceNotFoundError, InvalidCommandError, LimitExceededError
from engine.model.failure import Payload
from tests.client.running import Place, approval, chain, eventually, failing

WAIT_S = 30


def new_id() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def ended(client: WorkflowClient, instance_id: str):
    return client.wait_for_workflow_completion(instance_id, timeout_in_seconds=WAIT_S)


def begun(client: WorkflowClient, instance_id: str):
    return client.wait_for_workflow_start(instance_id, timeout_in_seconds=WAIT_S)


def test_a_started_workflow_completes_and_its_outcome_is_shown(client):
    instance_id = client.schedule_new_workflow(chain, input=4)
    state = ended(client, instance_id)
    assert state.instance_id == instance_id
    assert state.name == "chain"
    assert state.runtime_status is WorkflowStatus.COMPLETED
    assert (state.serialized_input, state.serialized_output) == ("4", "7")
    assert state.output == 7
    assert state.created_at <= state.last_updated_at
    assert state.created_at.tzinfo is None
    assert client.get_workflow_state(instance_id) == state
    state.raise_if_failed()


def test_a_workflow_may_be_named_by_its_name_and_input_be_ready_bytes(client):
    instance_id = client.schedule_new_workflow("chain", input=Payload(b"10"))
    assert ended(client, instance_id).output == 13


def test_payloads_are_left_out_when_they_are_not_asked_for(client):
    instance_id = client.schedule_new_workflow(chain, input=4)
    ended(client, instance_id)
    state = client.get_workflow_state(instance_id, fetch_payloads=False)
    assert (state.serialized_input, state.serialized_output) == (None, None)


def test_a_failure_is_shown_and_raised_when_asked(client):
    state = ended(client, client.schedule_new_workflow(failing, input="out of tea"))
    assert state.runtime_status is WorkflowStatus.FAILED
    assert "out of tea" in state.failure_details.message
    assert state.to_json()["failure_details"]["message"] == state.failure_details.message
    with pytest.raises(WorkflowFailedError, match="out of tea") as raised:
        state.raise_if_failed()
    assert raised.value.details.error_type


def test_a_raised_event_reaches_the_workflow(client):
    instance_id = client.schedule_new_workflow(approval, input="tea")
    assert begun(client, instance_id).runtime_status is WorkflowStatus.RUNNING
    client.raise_workflow_event(instance_id, "answer", data={"yes": True})
    assert ended(client, instance_id).output == {"item": "tea", "answer": {"yes": True}}


def test_a_paused_workflow_takes_its_event_when_it_is_resumed(client):
    instance_id = client.schedule_new_workflow(approval, input="tea")
    begun(client, instance_id)
    client.pause_workflow(instance_id, reason="a look at it")
    client.raise_workflow_event(instance_id, "answer", data=1)
    events = eventually(
        lambda: client.get_workflow_history(instance_id),
        lambda found: found[-1].event_type == "EventRaised",
    )
    suspended = next(event for event in events if event.event_type == "InstanceSuspended")
    assert suspended.attributes == {"reason": "a look at it"}
    assert client.get_workflow_state(instance_id).runtime_status is WorkflowStatus.SUSPENDED
    client.resume_workflow(instance_id)
    assert ended(client, instance_id).output == {"item": "tea", "answer": 1}


def test_a_terminated_workflow_ends_with_the_output_given(client):
    instance_id = client.schedule_new_workflow(approval, input="tea")
    client.terminate_workflow(instance_id, output="enough")
    state = ended(client, instance_id)
    assert state.runtime_status is WorkflowStatus.TERMINATED
    assert state.output == "enough"


def test_a_purged_workflow_is_gone(client):
    instance_id = client.schedule_new_workflow(chain, input=1)
    ended(client, instance_id)
    client.purge_workflow(instance_id)
    eventually(lambda: client.get_workflow_state(instance_id), lambda state: state is None)
    with pytest.raises(InstanceNotFoundError, match=instance_id):
        client.get_workflow_history(instance_id)
    assert client.list_workflow_instances(prefix=instance_id) == []


def test_a_scheduled_start_waits_for_its_time(client):
    at = datetime.now(UTC) + timedelta(seconds=1.5)
    instance_id = client.schedule_new_workflow(chain, input=1, start_at=at)
    eventually(lambda: client.get_workflow_state(instance_id), lambda state: state is not None)
    state = begun(client, instance_id)
    assert state.runtime_status is not WorkflowStatus.PENDING
    assert ended(client, instance_id).output == 4
    fired = next(e for e in client.get_workflow_history(instance_id) if e.event_type == "TimerFired")
    assert fired.timestamp >= utc(int(at.timestamp() * 1000))


def test_a_start_far_away_is_pending_and_can_be_terminated(client):
    instance_id = client.schedule_new_workflow(chain, input=1, start_at=timedelta(days=1))
    pending = eventually(lambda: client.get_workflow_state(instance_id), lambda state: state is not None)
    assert pending.runtime_status is WorkflowStatus.PENDING
    with pytest.raises(TimeoutError, match="PENDING"):
        client.wait_for_workflow_start(instance_id, timeout_in_seconds=0.2)
    client.terminate_workflow(instance_id)
    assert ended(client, instance_id).runtime_status is WorkflowStatus.TERMINATED


def test_history_is_decoded_dense_and_in_order(client):
    instance_id = client.schedule_new_workflow(chain, input=1)
    ended(client, instance_id)
    events = client.get_workflow_history(instance_id)
    assert [event.event_id for event in events] == list(range(1, 9))
    assert [event.event_type for event in events] == [
        "InstanceStarted",
        *["ActivityScheduled", "ActivityCompleted"] * 3,
        "InstanceCompleted",
    ]
    assert events[0].attributes["input"] == 1
    assert events[1].name == "increment"
    assert [event.attributes["result"] for event in events[2:7:2]] == [2, 3, 4]
    assert events[-1].attributes == {"output": 4}
    assert events[-1].to_json()["timestamp"].endswith("Z")


def test_a_wait_lasts_through_continue_as_new_and_history_shows_the_newest_run(client):
    instance_id = client.schedule_new_workflow("countdown", input=2)
    state = ended(client, instance_id)
    assert (state.input, state.output) == (0, "lift off")
    events = client.get_workflow_history(instance_id)
    assert {event.run_id for event in events} == {state.run_id}
    assert events[0].attributes["previous_run_id"]


def test_a_list_is_filtered_by_name_status_and_prefix(client):
    prefix = new_id()
    done = [client.schedule_new_workflow(chain, input=n, instance_id=f"{prefix}-{n}") for n in range(3)]
    waiting = client.schedule_new_workflow(approval, input="x", instance_id=f"{prefix}|{3}")
    for instance_id in done:
        ended(client, instance_id)
    begun(client, waiting)

    def listed(**wanted):
        found = client.list_workflow_instances(prefix=prefix, **wanted)
        return sorted(state.instance_id for state in found)

    assert listed() == sorted([*done, waiting])
    assert listed(name="chain") == done
    assert listed(status="RUNNING") == [waiting]
    assert listed(status=["completed", WorkflowStatus.FAILED]) == done
    assert listed(name="approval", status="COMPLETED") == []
    with pytest.raises(InvalidCommandError, match="expected a status of"):
        client.list_workflow_instances(status="HAPPY")
    client.terminate_workflow(waiting)


def test_a_wait_that_is_too_short_says_where_the_workflow_stands(client):
    instance_id = client.schedule_new_workflow(approval, input="tea")
    begun(client, instance_id)
    with pytest.raises(TimeoutError, match=r"ended within 0\.1 s, but it is RUNNING"):
        client.wait_for_workflow_completion(instance_id, timeout_in_seconds=0.1)
    client.terminate_workflow(instance_id)


def test_a_wait_for_what_does_not_exist_times_out(client):
    with pytest.raises(TimeoutError, match="there is no such instance yet"):
        client.wait_for_workflow_start(new_id(), timeout_in_seconds=0.2)


def test_an_instance_that_another_client_started_can_be_waited_for(place: Place, client):
    with place.open() as other:
        running = other.schedule_new_workflow(approval, input="tea")
        finished = other.schedule_new_workflow(chain, input=1)
        ended(other, finished)
    assert ended(client, finished).output == 4
    client.raise_workflow_event(running, "answer")
    assert ended(client, running).output == {"item": "tea", "answer": None}


def test_a_second_start_of_a_finished_instance_is_waited_for_and_not_the_first(client):
    instance_id = new_id()
    runs = set()
    for number in range(4):
        client.schedule_new_workflow(chain, input=number, instance_id=instance_id)
        state = ended(client, instance_id)
        assert state.output == number + 3
        runs.add(state.run_id)
    assert len(runs) == 4


def test_a_start_that_an_active_instance_refuses_waits_for_the_active_one(client):
    instance_id = client.schedule_new_workflow(approval, input="first")
    begun(client, instance_id)
    client.schedule_new_workflow(approval, input="second", instance_id=instance_id)
    letters = eventually(
        lambda: [each for each in client.read_dead_letters() if each.key == instance_id.encode()],
        lambda found: len(found) == 1,
    )
    assert letters[0].reason == "InstanceAlreadyExists"
    assert letters[0].source.startswith("commands/")
    client.raise_workflow_event(instance_id, "answer", data=1)
    assert ended(client, instance_id).output == {"item": "first", "answer": 1}


def test_many_waits_share_one_tail(client):
    ids = [client.schedule_new_workflow(chain, input=number) for number in range(40)]
    outputs: dict[int, int] = {}

    def wait(number: int) -> None:
        outputs[number] = ended(client, ids[number]).output

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    names = [thread.name for thread in threading.enumerate()]
    for thread in threads:
        thread.join(WAIT_S)
    assert outputs == {number: number + 3 for number in range(40)}
    assert names.count("client-tail") <= 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda c: c.schedule_new_workflow(""), "workflow: expected a workflow name of 1 to 256 bytes"),
        (lambda c: c.schedule_new_workflow("x", instance_id="~x"), "does not begin with '~'"),
        (lambda c: c.schedule_new_workflow("x", instance_id="a\nb"), "control characters"),
        (
            lambda c: c.schedule_new_workflow("x", start_at=datetime(1960, 1, 1, tzinfo=UTC)),
            "start_at_ms: expected",
        ),
        (lambda c: c.raise_workflow_event("x", ""), "name: expected an event name"),
        (lambda c: c.pause_workflow("x", reason="r" * 5000), "reason: expected at most 4,096 bytes"),
        (lambda c: c.purge_workflow(""), "expected an instance id of 1 to 128 bytes"),
        (lambda c: c.wait_for_workflow_start("x", timeout_in_seconds=-1), "expected timeout_in_seconds"),
        (
            lambda c: c.wait_for_workflow_completion("x", timeout_in_seconds=float("nan")),
            "expected timeout_in_seconds",
        ),
    ],
)
def test_what_cannot_be_accepted_is_refused_before_it_is_sent(directory_place, call, text):
    with directory_place.open() as client, pytest.raises(InvalidCommandError, match=text):
        call(client)


def test_values_that_json_cannot_say_or_that_are_too_large_are_refused(directory_place):
    with directory_place.open() as client:
        with pytest.raises(TypeError, match="JSON"):
            client.schedule_new_workflow(chain, input=object())
        with pytest.raises(LimitExceededError, match="524,288"):
            client.raise_workflow_event("x", "y", data="z" * 600_000)


def test_a_closed_client_says_so(place: Place):
    client = place.open()
    ended(client, client.schedule_new_workflow(chain, input=1))
    client.close()
    client.close()
    with pytest.raises(UnreachableError, match="it was closed"):
        client.raise_workflow_event("x", "y")
    with pytest.raises(UnreachableError, match="it was closed"):
        client.wait_for_workflow_completion("x")


def test_closing_a_client_ends_its_waits(place: Place):
    client = place.open()
    instance_id = client.schedule_new_workflow(approval, input="x")
    begun(client, instance_id)
    problems: list[BaseException] = []

    def wait() -> None:
        try:
            ended(client, instance_id)
        except UnreachableError as problem:
            problems.append(problem)

    waiting = threading.Thread(target=wait)
    waiting.start()
    client.terminate_workflow("somebody-else")
    client.close()
    waiting.join(WAIT_S)
    assert [str(problem) for problem in problems] == [CLOSED]
    with place.open() as other:
        other.terminate_workflow(instance_id)
