"""Dapr's table of operations and errors, row by row, in each of its versions: status, body, headers.

What the rows have beyond that (inputs, refusals, finished instances) is in test_dapr.
"""

from __future__ import annotations

import json
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from engine.client.errors import UnreachableError
from engine.gateway import service
from engine.gateway.forms import state_of
from engine.model import events as ev
from engine.model.failure import Payload
from engine.model.state import Status
from engine.projection import Instance, InstanceRow
from tests.client.running import eventually
from tests.gateway.conftest import APP, asking, serving
from tests.gateway.test_dapr import VERSIONS, ended, error, get, new_id, root, start
from tests.projection.made_log import MadeLog

VERBS = ("pause", "resume", "terminate", "purge")
# What each operation calls its failure; `{}` is the instance.
FAILURES = {
    "start": ("ERR_START_WORKFLOW", "error starting workflow 'chain': unable to start workflow: "),
    "get": ("ERR_GET_WORKFLOW", "error while getting workflow info on instance '{}': "),
    "raiseEvent": ("ERR_RAISE_EVENT_WORKFLOW", "error raising event on workflow '{}': "),
    "pause": ("ERR_PAUSE_WORKFLOW", "error pausing workflow {}: "),
    "resume": ("ERR_RESUME_WORKFLOW", "error resuming workflow {}: "),
    "terminate": ("ERR_TERMINATE_WORKFLOW", "error terminating workflow '{}': "),
    "purge": ("ERR_PURGE_WORKFLOW", "error purging workflow {}: "),
}


def ask(http, operation: str, instance: str, version: str = "v1.0", **query: str) -> httpx.Response:
    if operation == "start":
        params = {"instanceID": instance, **query}
        return http.post(f"{root(version)}/chain/start", params=params, content=b"1")
    if operation == "get":
        return http.get(f"{root(version)}/{instance}", params=query)
    path = "raiseEvent/answer" if operation == "raiseEvent" else operation
    return http.post(f"{root(version)}/{instance}/{path}", params=query)


def check_done(answer: httpx.Response, body: object) -> None:
    assert (answer.status_code, answer.json()) == (202, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["engine-outcome"] == "accepted"


# --- operations ---


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_succeeds_in_every_version(http, version):
    base, instance = root(version), new_id()
    started = http.post(f"{base}/approval/start", params={"instanceID": instance}, content=b'"tea"')
    check_done(started, {"instanceID": instance})
    check_done(http.post(f"{base}/{instance}/pause"), {})
    assert get(http, instance)["runtimeStatus"] == "SUSPENDED"
    check_done(http.post(f"{base}/{instance}/resume"), {})
    check_done(http.post(f"{base}/{instance}/raiseEvent/other", content=b"1"), {})
    shown = http.get(f"{base}/{instance}")
    assert (shown.status_code, shown.json()["runtimeStatus"]) == (200, "RUNNING")
    assert shown.headers["content-type"] == "application/json"
    assert shown.headers["engine-projection-lag"].isdigit()
    check_done(http.post(f"{base}/{instance}/terminate"), {})
    assert http.get(f"{base}/{instance}").json()["runtimeStatus"] == "TERMINATED"
    check_done(http.post(f"{base}/{instance}/purge"), {})
    assert error(http.get(f"{base}/{instance}"))[:2] == (404, "ERR_INSTANCE_ID_NOT_FOUND")


@pytest.mark.parametrize("operation", FAILURES)
def test_every_operation_may_name_the_app_that_is_served(http, operation):
    if operation == "start":
        check_done(ask(http, "start", instance := new_id(), appID=APP), {"instanceID": instance})
        return
    workflow = "chain" if operation == "purge" else "approval"
    instance = start(http, workflow, b"1")
    if operation == "purge":
        ended(http, instance)
    assert ask(http, operation, instance, appID=APP).status_code == (200 if operation == "get" else 202)


def test_children_go_with_their_parent(http):
    instance = start(http, "parent", b"2")
    ended(http, instance)
    assert get(http, f"{instance}-0")["runtimeStatus"] == "COMPLETED"
    check_done(http.post(f"{root()}/{instance}/purge"), {})
    assert error(http.get(f"{root()}/{instance}"))[0] == 404
    for child in (f"{instance}-0", f"{instance}-1"):
        eventually(lambda child=child: http.get(f"{root()}/{child}").status_code, (404).__eq__)


# --- statuses ---


def test_a_scheduled_start_is_pending(http):
    instance, due = new_id(), datetime.now(UTC) + timedelta(hours=1)
    command = {
        "type": "StartInstance",
        "instance_id": instance,
        "workflow": "chain",
        "input": 1,
        "start_at": due.isoformat(),
    }
    told = http.post("/api/v1/commands", content=json.dumps(command).encode())
    assert told.status_code == 200, told.text
    assert get(http, instance)["runtimeStatus"] == "PENDING"
    http.post(f"{root()}/{instance}/terminate")


@pytest.mark.parametrize("status", Status)
def test_every_status_has_the_name_that_dapr_has_for_it(status):
    row = InstanceRow(
        instance_id="i",
        run_id="r",
        workflow="w",
        status=status,
        created_at_ms=0,
        updated_at_ms=1,
        events=1,
        partition=0,
        parent_instance_id=None,
        custom_status=None,
        stall_reason=None,
        is_unreadable=False,
    )
    state = state_of(Instance(row=row, input=None, output=None, failure=None))
    assert state.runtime_status == ("UNKNOWN" if status is Status.STALLED else status.value)
    assert state.properties == {}


# --- errors ---


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("operation", FAILURES)
def test_an_app_that_is_not_served_here_is_the_operation_s_failure(http, operation, version):
    code, prefix = FAILURES[operation]
    instance = new_id()
    cause = f"this gateway serves app '{APP}', not 'other'"
    answer = ask(http, operation, instance, version, appID="other")
    assert error(answer) == (500, code, prefix.format(instance) + cause)


@pytest.mark.parametrize("operation", FAILURES)
def test_an_app_id_that_can_t_be_one_is_named_everywhere(http, operation):
    message = (
        "workflow app ID 'a b' is invalid: only alphanumeric, dash and underscore characters are allowed"
    )
    answer = ask(http, operation, new_id(), appID="a b")
    assert error(answer) == (400, "ERR_WORKFLOW_APP_ID_INVALID", message)


@pytest.mark.parametrize("operation", [each for each in FAILURES if each != "start"])
def test_without_an_instance_every_operation_says_so(http, operation):
    assert error(ask(http, operation, "")) == (
        400,
        "ERR_INSTANCE_ID_PROVIDED_MISSING",
        "no instance ID was provided",
    )


@pytest.mark.parametrize("path", ["x/start", "x", "x/raiseEvent/e", *(f"x/{verb}" for verb in VERBS)])
def test_without_a_component_every_operation_says_so(http, path):
    answer = http.request("GET" if path == "x" else "POST", f"/v1.0/workflows//{path}")
    assert error(answer) == (400, "ERR_WORKFLOW_COMPONENT_MISSING", "no workflow component was provided")


class Down(MadeLog):
    """A log that can't be reached, neither to write nor to read."""

    def publish_lone(self, key: bytes, value: bytes, headers: object) -> Future[None]:
        refused: Future[None] = Future()
        refused.set_exception(UnreachableError("Kafka is down"))
        return refused

    def read_history(self, partition: int, start: int):
        raise UnreachableError("Kafka is down")


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory):
    log = Down()
    log.commit(("somebody", "r1", 1, ev.InstanceStarted(workflow="chain", input=Payload(b"1"))))
    log.is_down = True
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(service, "FRESH_WAIT_S", 0.01)
        directory = Path(tmp_path_factory.mktemp("cut-off"))
        with serving(log, directory, command_wait_s=0.1) as gateway, asking(gateway) as http:
            # The read model could read nothing of it either.
            yield http


@pytest.mark.parametrize("operation", FAILURES)
def test_a_log_that_can_t_be_reached_is_the_operation_s_failure(cut_off, operation):
    code, prefix = FAILURES[operation]
    unsent = "the log has not answered for 0.1 s; nothing was sent, try again"
    cause = "Kafka is down" if operation == "get" else unsent
    assert error(ask(cut_off, operation, "somebody")) == (500, code, f"{prefix.format('somebody')}{cause}")
