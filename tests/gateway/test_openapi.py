"""The description and what is served are one: compared, validated, tried out by a generator of requests."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from engine.client.opening import open_embedded
from engine.gateway.app import build_app
from engine.gateway.guard import Policy
from engine.gateway.measures import Outcome
from engine.gateway.openapi import openapi
from engine.gateway.server import GatewaySettings, all_routes
from tests.client.running import on_a_directory
from tests.gateway.conftest import APP, WAIT_S, asking, serving

with warnings.catch_warnings():
    # What it imports is its own affair.
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi import checks

# No handler is called: this is the table alone.
TABLE = all_routes(None, None, GatewaySettings(app_id=APP, directory=Path()), lambda: None)
DOCUMENT = json.loads(json.dumps(openapi(TABLE)))
OPERATIONS = [
    (path, operation) for path, operations in DOCUMENT["paths"].items() for operation in operations.values()
]

# A caller's mistakes that Dapr answers with 500; anything else of that sort is a bug of ours.
CALLERS_MISTAKES = {
    "ERR_START_WORKFLOW",
    "ERR_GET_WORKFLOW",
    "ERR_RAISE_EVENT_WORKFLOW",
    "ERR_PAUSE_WORKFLOW",
    "ERR_RESUME_WORKFLOW",
    "ERR_TERMINATE_WORKFLOW",
    "ERR_PURGE_WORKFLOW",
    "ERR_HEALTH_APPID_NOT_MATCH",
}
# What says that the log or the read model failed, not the caller: here neither has a reason to.
OUR_MISTAKES = re.compile("can't be read|try again|acknowledged|SQLite")


def test_what_is_served_is_what_is_described():
    app = build_app(TABLE, None, Policy("127.0.0.1", ""))
    served = {
        (method, route.path.replace(":part}", "}"))
        for route in app.routes
        for method in route.methods - {"HEAD"}
    }
    described = {
        (method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations
    }
    assert served == described == {(route.method, route.path) for route in TABLE}


def test_the_gateway_gives_this_very_document(http):
    assert http.get("/openapi.json").json() == DOCUMENT


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("path", "operation"), OPERATIONS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_operation_says_what_it_does_and_takes(path, operation):
    assert operation["summary"].endswith((".", ")."))
    inside = {part[1:-1] for part in path.split("/") if part.startswith("{")}
    assert {each["name"] for each in operation["parameters"] if each["in"] == "path"} == inside
    assert all(each["description"] for each in operation["parameters"])
    assert all(each["description"] for each in operation["responses"].values())


# --- tried out by a generator of requests ---


@pytest.fixture(scope="module")
def own_gateway(tmp_path_factory: pytest.TempPathFactory):
    """With instances of its own: the generator ends and purges whatever it finds."""
    directory = Path(tmp_path_factory.mktemp("generated")) / ".engine"
    with on_a_directory(directory):
        connection = open_embedded(directory)
        with serving(connection, directory / "read", command_wait_s=WAIT_S) as gateway:
            yield gateway
        connection.close()


SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@SCHEMA.exclude(operation_id=["stream_instance", "stream_all"]).parametrize()
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_whatever_is_asked_the_answer_is_one_that_is_described(case, own_gateway):
    if case.operation.path.endswith("/wait"):
        case.query = {**(case.query or {}), "timeout_seconds": 0.01}
    answer = case.call(base_url=own_gateway.url)
    if answer.status_code >= 500:
        assert answer.json()["errorCode"] in CALLERS_MISTAKES, answer.text
        assert not OUR_MISTAKES.search(answer.json()["message"]), answer.text
    case.validate_response(answer, checks=CONFORMANCE)


def test_the_generator_left_a_gateway_that_works(own_gateway):
    with asking(own_gateway) as http:
        assert http.get("/v1.0/healthz").status_code == 204
    outcomes = own_gateway.service.measures.commands
    assert outcomes[Outcome.ACCEPTED] > 0
    assert outcomes[Outcome.FAILED] == outcomes[Outcome.UNDECIDED] == 0
