"""What a gateway exports is what it did, in the names, kinds and labels of its table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.gateway import service as service_module
from engine.gateway.endpoint import Endpoint
from engine.gateway.lag import Lag
from engine.gateway.measures import OTHER
from engine.gateway.metrics import METRICS, READERS
from engine.gateway.server import Gateway
from engine.model import events as ev
from engine.projection.fold import Folder
from engine.telemetry.table import Kind
from tests.client.running import eventually
from tests.gateway.conftest import APP, WAIT_S, asking, impatient, serving
from tests.gateway.test_dapr import new_id, root, start
from tests.metrics.running import get, read, wait_metric
from tests.metrics.tools import run_tool
from tests.projection.made_log import MadeLog

WORKFLOWS = "/v1.0/workflows/{component}"
LATENCY = "dapr_runtime_workflow_operation_latency_count"


@contextmanager
def shown(gateway: Gateway) -> Iterator[int]:
    """The port on which it tells of itself."""
    endpoint = Endpoint("127.0.0.1", 0)
    try:
        endpoint.show(gateway)
        yield endpoint.port
    finally:
        endpoint.close()


@pytest.fixture
def own_gateway(connection, tmp_path: Path) -> Iterator[Gateway]:
    """With counts that begin at nothing."""
    with serving(connection, tmp_path / "read", token="secret", command_wait_s=WAIT_S) as gateway:
        yield gateway


@pytest.fixture
def port(own_gateway: Gateway) -> Iterator[int]:
    with shown(own_gateway) as port:
        yield port


@pytest.fixture
def own_http(own_gateway: Gateway):
    with asking(own_gateway, **{"dapr-api-token": "secret"}) as http:
        yield http


def test_every_metric_of_the_table_has_a_reading_and_is_exported(own_http, port: int):
    assert set(READERS) == {metric.name for metric in METRICS}
    start(own_http, "chain", b"1")
    wait_metric(port, 1, "engine_gateway_ready")
    text = get(port, "/metrics")[1]
    found = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        family = found[metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name]
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert labels == {frozenset(metric.labels)}, metric.name
    done = run_tool("promtool", "check", "metrics", text=text)
    assert [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("dapr_")] == []


def test_requests_are_counted_by_route_and_status_and_their_commands_by_outcome(own_http, port: int):
    instance = start(own_http, "approval", b'"tea"')
    own_http.post(f"{root()}/approval/start?instanceID={instance}")
    own_http.get(f"{root('v1.0-beta1')}/{instance}")
    own_http.get(f"{root()}/nobody")
    own_http.post(f"{root()}/{instance}/raiseEvent/answer")

    def requests(**labels: str) -> float:
        return read(port, "engine_gateway_requests_total", **labels)

    start_route = f"{WORKFLOWS}/{{workflow}}/start"
    assert requests(method="POST", route=start_route, status="202") == 1
    assert requests(method="POST", route=start_route, status="500") == 1
    assert requests(route=f"{WORKFLOWS}/{{instance}}", status="404") == 1
    assert requests(route="/v1.0-beta1/workflows/{component}/{instance}", status="200") == 1
    assert read(port, "engine_gateway_request_seconds_count") == requests() == 5
    assert read(port, "engine_gateway_commands_total", outcome="accepted") == 2
    assert read(port, "engine_gateway_commands_total", outcome="refused") == 1
    assert read(port, "engine_gateway_command_seconds_count") == 3
    names = {"app_id": APP, "namespace": "wf"}
    assert read(port, LATENCY, operation="create_workflow", status="success", **names) == 1
    assert read(port, LATENCY, operation="create_workflow", status="failed", **names) == 1
    assert read(port, LATENCY, operation="get_workflow", status="success", **names) == 1
    assert read(port, LATENCY, operation="add_event", **names) == 1


def test_what_a_caller_makes_up_makes_no_series(own_gateway: Gateway, own_http, port: int):
    for number in range(5):
        own_http.get(f"/made-up/{number}")
        own_http.request(f"MADE{number}", f"{root()}/made-up")
        own_http.get(f"{root()}/made-up-{number}")
    with asking(own_gateway) as stranger:
        stranger.get(f"{root()}/made-up")
    text = get(port, "/metrics")[1]
    assert "made-up" not in text
    assert "MADE" not in text
    other = {"method": OTHER, "route": OTHER}
    assert read(port, "engine_gateway_requests_total", status="404", **other) == 5
    assert read(port, "engine_gateway_requests_total", status="405", **other) == 5
    assert read(port, "engine_gateway_requests_total", status="401", **other) == 1


def test_waits_and_streams_are_told_while_they_last(own_http, port: int):
    instance = start(own_http, "approval", b'"tea"')
    waiting = threading.Thread(target=own_http.get, args=(f"/api/v1/instances/{instance}/wait",))
    waiting.start()
    with own_http.stream("GET", f"/api/v1/instances/{instance}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        wait_metric(port, 1, "engine_gateway_waits")
        assert read(port, "engine_gateway_streams") == 1
        assert read(port, "engine_gateway_requests_under_way") == 2
        own_http.post(f"{root()}/{instance}/terminate")
    waiting.join(WAIT_S)
    eventually(lambda: read(port, "engine_gateway_requests_under_way"), (0.0).__eq__)
    assert read(port, "engine_gateway_waits") == read(port, "engine_gateway_streams") == 0


class Hearing(MadeLog):
    """It takes commands, and nobody answers; or it takes none."""

    def publish_lone(self, key: bytes, value: bytes, headers: object) -> Future[None]:
        taken: Future[None] = Future()
        if self.is_down:
            taken.set_exception(service_module.UnreachableError("expected Kafka to answer, but it is down"))
        else:
            taken.set_result(None)
        return taken


def test_commands_that_nobody_answers_or_takes_are_told_apart(tmp_path: Path):
    log = Hearing()
    with (
        impatient(log, tmp_path, command_wait_s=0.01) as gateway,
        asking(gateway) as http,
        shown(gateway) as port,
    ):
        assert http.post(f"{root()}/w/start?instanceID={new_id()}").status_code == 202
        log.is_down = True
        assert http.post(f"{root()}/w/start?instanceID={new_id()}").status_code == 500
        assert read(port, "engine_gateway_commands_total", outcome="undecided") == 1
        assert read(port, "engine_gateway_commands_total", outcome="failed") == 1
        assert read(port, "engine_gateway_command_seconds_count") == 0


# --- the read model ---


def test_a_read_model_that_is_behind_is_told_and_so_is_that_it_has_caught_up(tmp_path: Path, monkeypatch):
    hold, write = threading.Event(), Folder.write

    def held(folder: Folder, positions: object) -> None:
        hold.wait(WAIT_S)
        write(folder, positions)

    monkeypatch.setattr(Folder, "write", held)
    log = MadeLog()
    with serving(log, tmp_path) as gateway, shown(gateway) as port:
        log.commit(("order-1", "r1", 1, ev.InstanceStarted(workflow="order")))
        wait_metric(port, 1, "engine_projection_lag_records")
        hold.set()
        eventually(lambda: read(port, "engine_projection_lag_records"), (0.0).__eq__)
        assert read(port, "engine_projection_lag_seconds") == 0
        assert read(port, "engine_projection_events_total") == 1
        assert read(port, "engine_projection_bytes") > 0


def test_a_lag_is_as_old_as_the_oldest_record_that_is_not_shown():
    lag = Lag()
    lag.look({0: 10, 1: 5}, {0: 10, 1: 5}, now=1.0)
    lag.look({0: 20, 1: 5}, {0: 10, 1: 5}, now=2.0)
    lag.look({0: 30, 1: 5}, {0: 15, 1: 5}, now=3.0)
    told = {number: (each.records, each.seconds(7.0)) for number, each in lag.waiting.items()}
    assert told == {0: (15, 5.0), 1: (0, 0)}
    lag.look({0: 30, 1: 5}, {0: 20, 1: 5}, now=8.0)
    assert lag.waiting[0].seconds(9.0) == 6.0
    # A file that is built anew is behind by all there is, and from now on.
    lag.look({0: 30, 1: 5}, {}, now=10.0)
    assert (lag.waiting[1].records, lag.waiting[1].seconds(12.0)) == (5, 2.0)


# --- the port ---


def test_health_is_told_from_before_there_is_a_gateway_on(tmp_path: Path):
    endpoint, log = Endpoint("127.0.0.1", 0), MadeLog()
    log.is_down = True
    try:
        assert get(endpoint.port, "/healthz/live")[0] == 200
        status, body = get(endpoint.port, "/healthz/ready")
        assert (status, "waits for Kafka" in body) == (503, True)
        assert "engine_" not in get(endpoint.port, "/metrics")[1]
        with serving(log, tmp_path) as gateway:
            endpoint.show(gateway)
            status, body = get(endpoint.port, "/healthz")
            assert (status, "can't be read" in body) == (503, True)
            assert read(endpoint.port, "engine_gateway_connected") == 0
            log.is_down = False
            eventually(lambda: get(endpoint.port, "/healthz")[0], (200).__eq__)
            assert read(endpoint.port, "engine_gateway_ready") == 1
            gateway.projection.failure = AssertionError("a bug")
            assert "stands still" in get(endpoint.port, "/healthz/ready")[1]
            gateway.projection.failure = None
    finally:
        endpoint.close()
