"""Dapr's workflow API, row by row: status, body, headers."""

from __future__ import annotations

import json
import re
import uuid

import pytest

from engine.gateway.forms import rfc3339
from tests.client.running import eventually

VERSIONS = ("v1.0", "v1.0-beta1", "v1.0-alpha1")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
ACTIVE = "an active workflow with ID '{}' already exists"
ALLOWED = "only alphanumeric and underscore characters are allowed"
UNKNOWN = "unable to find workflow with the provided instance ID: "


def new_id() -> str:
    return f"dapr-{uuid.uuid4().hex[:12]}"


def root(version: str = "v1.0") -> str:
    return f"/{version}/workflows/dapr"


def start(http, workflow: str, content: bytes | None = None, **query: str):
    instance = query.pop("instanceID", new_id())
    answer = http.post(
        f"{root()}/{workflow}/start", params={"instanceID": instance, **query}, content=content
    )
    assert answer.status_code == 202, answer.text
    return instance


def get(http, instance: str):
    answer = http.get(f"{root()}/{instance}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(http, instance: str):
    return eventually(lambda: get(http, instance), lambda state: state["runtimeStatus"] != "RUNNING")


def error(answer) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"errorCode", "message"}
    return answer.status_code, body["errorCode"], body["message"]


# --- start ---


@pytest.mark.parametrize("version", VERSIONS)
def test_a_workflow_is_started_and_shown(http, version):
    instance = new_id()
    started = http.post(f"{root(version)}/chain/start", params={"instanceID": instance}, content=b"4")
    assert (started.status_code, started.json()) == (202, {"instanceID": instance})
    assert started.headers["content-type"] == "application/json"
    assert started.headers["engine-outcome"] == "accepted"
    shown = http.get(f"{root(version)}/{instance}")
    assert shown.status_code == 200
    assert shown.json()["instanceID"] == instance


def test_a_start_without_an_id_gets_a_random_one(http):
    ids = {http.post(f"{root()}/chain/start", content=b"1").json()["instanceID"] for _ in range(3)}
    assert len(ids) == 3


def test_the_component_may_have_any_name(http):
    answer = http.post(f"/v1.0/workflows/whatever/chain/start?instanceID={new_id()}", content=b"1")
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        (b'{"Name":"Paperclips"}', "application/x-www-form-urlencoded", '{"Name":"Paperclips"}'),
        (b'{"Name":"Paperclips"}', "application/json", '{"Name":"Paperclips"}'),
        (b"[1, 2.50]", None, "[1, 2.50]"),
        (b"123456789012345678901234567890", None, "123456789012345678901234567890"),
        (b"", None, ""),
    ],
)
def test_the_body_is_the_input(http, content, content_type, text):
    headers = {} if content_type is None else {"content-type": content_type}
    instance = new_id()
    http.post(f"{root()}/approval/start?instanceID={instance}", content=content, headers=headers)
    assert get(http, instance)["properties"]["dapr.workflow.input"] == text


def test_an_input_that_is_no_json_is_kept_as_bytes(http):
    instance = start(http, "approval", b"\xff\x00")
    shown = json.loads(get(http, instance)["properties"]["dapr.workflow.input"])
    assert shown == {"content_type": "application/octet-stream", "base64": "/wA="}


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("content", [b"{no", b"NaN", b"1e400", b"[" * 100_000])
def test_what_calls_itself_json_must_be_and_what_curl_calls_so_too(http, content, content_type):
    answer = http.post(f"{root()}/approval/start", content=content, headers={"content-type": content_type})
    status, code, message = error(answer)
    assert (status, code) == (400, "ERR_MALFORMED_REQUEST")
    assert message.startswith("failed deserializing HTTP body: ")


def test_a_second_start_of_an_active_instance_is_refused_as_by_dapr(http):
    instance = start(http, "approval", b'"tea"')
    answer = http.post(f"{root()}/approval/start?instanceID={instance}", content=b'"tea"')
    assert error(answer) == (
        500,
        "ERR_START_WORKFLOW",
        f"error starting workflow 'approval': unable to start workflow: {ACTIVE.format(instance)}",
    )


def test_a_finished_instance_may_be_started_again(http):
    instance = start(http, "chain", b"1")
    ended(http, instance)
    start(http, "chain", b"5", instanceID=instance)
    state = eventually(lambda: get(http, instance), lambda s: s["runtimeStatus"] == "COMPLETED")
    assert state["properties"]["dapr.workflow.output"] == "8"


@pytest.mark.parametrize("instance", ["a b", "a:b", "a.b", "täst", "a/b"])
def test_dapr_allows_few_characters_in_a_new_id(http, instance):
    answer = http.post(f"{root()}/chain/start", params={"instanceID": instance})
    assert error(answer) == (
        400,
        "ERR_INSTANCE_ID_INVALID",
        f"workflow instance ID '{instance}' is invalid: {ALLOWED}",
    )


def test_a_new_id_has_at_most_64_characters(http):
    start(http, "chain", b"1", instanceID=uuid.uuid4().hex * 2)
    answer = http.post(f"{root()}/chain/start", params={"instanceID": "x" * 65})
    assert error(answer) == (
        400,
        "ERR_INSTANCE_ID_TOO_LONG",
        "workflow instance ID exceeds the max length of 64 characters",
    )


# --- what is missing ---


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        (
            "POST",
            "/v1.0/workflows/dapr//start",
            "ERR_WORKFLOW_NAME_MISSING",
            "workflow name is not configured",
        ),
        (
            "POST",
            "/v1.0/workflows/dapr/x/raiseEvent/",
            "ERR_WORKFLOW_EVENT_NAME_MISSING",
            "missing workflow event name",
        ),
        ("GET", "/v1.0/workflows/dapr/", "ERR_INSTANCE_ID_PROVIDED_MISSING", "no instance ID was provided"),
        (
            "POST",
            "/v1.0/workflows/dapr//purge",
            "ERR_INSTANCE_ID_PROVIDED_MISSING",
            "no instance ID was provided",
        ),
        (
            "POST",
            "/v1.0/workflows/dapr/chain/start?instanceID=",
            "ERR_INSTANCE_ID_PROVIDED_MISSING",
            "no instance ID was provided",
        ),
        (
            "POST",
            "/v1.0/workflows//chain/start",
            "ERR_WORKFLOW_COMPONENT_MISSING",
            "no workflow component was provided",
        ),
        ("GET", "/v1.0/workflows//x", "ERR_WORKFLOW_COMPONENT_MISSING", "no workflow component was provided"),
        (
            "GET",
            "/v1.0/workflows/dapr/x?appID=a.b",
            "ERR_WORKFLOW_APP_ID_INVALID",
            "workflow app ID 'a.b' is invalid: only alphanumeric, dash and underscore characters are allowed",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(http, method, path, code, message):
    assert error(http.request(method, path)) == (400, code, message)


def test_the_app_that_is_served_may_be_named_and_no_other(http):
    instance = start(http, "chain", b"1", appID="shop")
    assert http.get(f"{root()}/{instance}?appID=shop").status_code == 200
    status, code, message = error(http.get(f"{root()}/{instance}?appID=other"))
    assert (status, code) == (500, "ERR_GET_WORKFLOW")
    assert message.startswith(f"error while getting workflow info on instance '{instance}': ")


# --- get ---


def test_a_completed_instance_has_input_and_output(http):
    state = ended(http, start(http, "chain", b"4"))
    assert state["workflowName"] == "chain"
    assert state["runtimeStatus"] == "COMPLETED"
    assert state["properties"] == {"dapr.workflow.input": "4", "dapr.workflow.output": "7"}
    assert RFC3339.fullmatch(state["createdAt"])
    assert RFC3339.fullmatch(state["lastUpdatedAt"])


def test_a_failed_instance_has_its_failure_and_no_output(http):
    state = ended(http, start(http, "failing", b'"no tea"'))
    assert state["runtimeStatus"] == "FAILED"
    properties = state["properties"]
    assert "dapr.workflow.output" not in properties
    assert "no tea" in properties["dapr.workflow.failure.error_message"]
    assert properties["dapr.workflow.failure.error_type"]
    assert properties.keys() <= {
        "dapr.workflow.input",
        "dapr.workflow.failure.error_type",
        "dapr.workflow.failure.error_message",
        "dapr.workflow.failure.stack_trace",
    }


def test_a_string_is_shown_with_its_quotes_and_custom_status_without(http):
    instance = start(http, "approval", b'"tea"')
    properties = get(http, instance)["properties"]
    assert properties == {"dapr.workflow.input": '"tea"', "dapr.workflow.custom_status": "waiting"}


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000_000, "2023-11-14T22:13:20Z"),
        (1_001, "1970-01-01T00:00:01.001Z"),
    ],
)
def test_times_are_rfc_3339_with_no_fraction_or_three_digits(at_ms, text):
    assert rfc3339(at_ms) == text


def test_an_unknown_instance_is_not_found(http):
    assert error(http.get(f"{root()}/nobody")) == (404, "ERR_INSTANCE_ID_NOT_FOUND", f"{UNKNOWN}nobody")


# --- raise ---


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_is_raised(http, version):
    instance = start(http, "approval", b'"tea"')
    answer = http.post(f"{root(version)}/{instance}/raiseEvent/answer", content=b'{"yes": true}')
    assert (answer.status_code, answer.json()) == (202, {})
    assert answer.headers["engine-outcome"] == "accepted"
    output = ended(http, instance)["properties"]["dapr.workflow.output"]
    assert json.loads(output) == {"item": "tea", "answer": {"yes": True}}


def test_an_event_may_carry_nothing(http):
    instance = start(http, "approval", b'"tea"')
    http.post(f"{root()}/{instance}/raiseEvent/answer")
    output = ended(http, instance)["properties"]["dapr.workflow.output"]
    assert json.loads(output) == {"item": "tea", "answer": None}


def test_an_event_for_nobody_is_an_error(http):
    assert error(http.post(f"{root()}/nobody/raiseEvent/answer")) == (
        500,
        "ERR_RAISE_EVENT_WORKFLOW",
        "error raising event on workflow 'nobody': no such instance exists: 'nobody'",
    )


def test_an_event_for_a_finished_instance_is_taken_and_dropped(http):
    instance = start(http, "chain", b"1")
    ended(http, instance)
    answer = http.post(f"{root()}/{instance}/raiseEvent/answer")
    assert (answer.status_code, answer.json()) == (202, {})
    assert answer.headers["engine-outcome"] == "refused; reason=InstanceFinished"


# --- pause, resume, terminate, purge ---


def test_an_instance_is_paused_and_resumed(http):
    instance = start(http, "approval", b'"tea"')
    assert http.post(f"{root()}/{instance}/pause").json() == {}
    assert get(http, instance)["runtimeStatus"] == "SUSPENDED"
    assert http.post(f"{root()}/{instance}/resume").json() == {}
    assert get(http, instance)["runtimeStatus"] == "RUNNING"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"unknown": 1}', b"null"])
def test_an_instance_is_terminated_whatever_json_is_sent_along(http, content):
    instance = start(http, "approval", b'"tea"')
    answer = http.post(f"{root()}/{instance}/terminate", content=content)
    assert (answer.status_code, answer.json()) == (202, {})
    assert get(http, instance)["runtimeStatus"] == "TERMINATED"


@pytest.mark.parametrize("verb", ["pause", "resume", "terminate", "purge"])
def test_a_body_that_is_no_json_is_refused(http, verb):
    status, code, _ = error(http.post(f"{root()}/some/{verb}", content=b"{no"))
    assert (status, code) == (400, "ERR_MALFORMED_REQUEST")


@pytest.mark.parametrize("verb", ["pause", "resume", "terminate"])
def test_what_a_finished_instance_is_sent_has_no_effect(http, verb):
    instance = start(http, "chain", b"1")
    before = ended(http, instance)
    answer = http.post(f"{root()}/{instance}/{verb}")
    assert (answer.status_code, answer.json()) == (202, {})
    assert answer.headers["engine-outcome"] == "refused; reason=InstanceFinished"
    assert get(http, instance) == before


def test_a_finished_instance_is_purged(http):
    instance = start(http, "chain", b"1")
    ended(http, instance)
    assert http.post(f"{root()}/{instance}/purge").status_code == 202
    assert error(http.get(f"{root()}/{instance}"))[1] == "ERR_INSTANCE_ID_NOT_FOUND"


def test_a_running_instance_is_not_purged(http):
    instance = start(http, "approval", b'"tea"')
    status, code, message = error(http.post(f"{root()}/{instance}/purge"))
    assert (status, code) == (500, "ERR_PURGE_WORKFLOW")
    assert message.startswith(f"error purging workflow {instance}: orchestration has not yet completed")


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("terminate", (404, "ERR_INSTANCE_ID_NOT_FOUND", f"{UNKNOWN}nobody")),
        ("purge", (404, "ERR_INSTANCE_ID_NOT_FOUND", f"{UNKNOWN}nobody")),
        (
            "pause",
            (500, "ERR_PAUSE_WORKFLOW", "error pausing workflow nobody: no such instance exists: 'nobody'"),
        ),
        (
            "resume",
            (500, "ERR_RESUME_WORKFLOW", "error resuming workflow nobody: no such instance exists: 'nobody'"),
        ),
    ],
)
def test_nobody_can_be_told_anything(http, verb, expected):
    assert error(http.post(f"{root()}/nobody/{verb}")) == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("verb", ["pause", "resume", "terminate", "purge"])
def test_every_verb_is_there_in_every_version(http, version, verb):
    assert http.post(f"{root(version)}/nobody/{verb}").status_code in (404, 500)


def test_no_other_method_and_no_other_path_is_served(http):
    assert error(http.delete(f"{root()}/nobody"))[:2] == (405, "ERR_METHOD_NOT_ALLOWED")
    assert error(http.get("/v1.0/state/store/key"))[:2] == (404, "ERR_NOT_FOUND")
