"""The same on a real Kafka: markers, several partitions of commands, transactions of others."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from engine.client.opening import open_kafka
from tests.client.running import PARTITIONS, Place, eventually, on_kafka
from tests.gateway.conftest import WAIT_S, asking, serving
from tests.gateway.test_api import told
from tests.gateway.test_dapr import ended, error, get, new_id, root, start
from tests.integration.harness import COMMAND_LINE, SAMPLE, WorkerProcess


@pytest.fixture(scope="module")
def app_on_kafka(bootstrap_servers: str):
    with on_kafka(bootstrap_servers) as place:
        yield place


def app_of(place: Place) -> str:
    return place.arguments[place.arguments.index("--app") + 1]


@pytest.fixture(scope="module")
def kafka_connection(app_on_kafka: Place, bootstrap_servers: str):
    connection = open_kafka(bootstrap_servers, app_of(app_on_kafka), "wf", None)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def kafka_gateway(kafka_connection, tmp_path_factory: pytest.TempPathFactory):
    directory = Path(tmp_path_factory.mktemp("read"))
    with serving(kafka_connection, directory, command_wait_s=WAIT_S) as gateway:
        yield gateway


@pytest.fixture
def http(kafka_gateway):
    with asking(kafka_gateway) as http:
        yield http


def test_a_workflow_is_started_answered_and_shown(http):
    instance = start(http, "chain", b"4")
    assert ended(http, instance)["properties"]["dapr.workflow.output"] == "7"
    assert http.post(f"{root()}/{instance}/purge").headers["engine-outcome"] == "accepted"
    assert error(http.get(f"{root()}/{instance}"))[0] == 404


def test_every_refusal_is_told_and_every_acceptance_shown(http):
    for _ in range(10):
        instance = start(http, "approval", b'"tea"')
        second = http.post(f"{root()}/approval/start?instanceID={instance}", content=b'"tea"')
        assert error(second)[:2] == (500, "ERR_START_WORKFLOW")
        assert error(http.post(f"{root()}/{new_id()}/raiseEvent/answer"))[:2] == (
            500,
            "ERR_RAISE_EVENT_WORKFLOW",
        )
        assert http.post(f"{root()}/{instance}/terminate").headers["engine-outcome"] == "accepted"
        assert get(http, instance)["runtimeStatus"] == "TERMINATED"


def test_a_gateway_is_healthy_when_it_has_read_up_to_the_markers(http):
    eventually(lambda: http.get("/v1.0/healthz").status_code, (204).__eq__)
    assert eventually(lambda: http.get("/api/v1/counts").headers["engine-projection-lag"], "0".__eq__) == "0"


def test_a_restart_reads_on_and_is_healthy_without_news(kafka_connection, tmp_path: Path):
    with serving(kafka_connection, tmp_path) as gateway, asking(gateway) as http:
        instance = start(http, "chain", b"1")
        ended(http, instance)
        eventually(lambda: http.get("/v1.0/healthz").status_code, (204).__eq__)
    with serving(kafka_connection, tmp_path) as gateway, asking(gateway) as http:
        assert not gateway.projection.progress.is_rebuild
        eventually(lambda: http.get("/v1.0/healthz").status_code, (204).__eq__)
        assert get(http, instance)["runtimeStatus"] == "COMPLETED"


def test_a_stream_tells_what_comes(http):
    instance = start(http, "approval", b'"tea"')
    with http.stream("GET", f"/api/v1/instances/{instance}/events") as stream:
        lines = stream.iter_lines()
        told(lines, lambda event: event["event_type"] == "CustomStatusSet")
        http.post(f"{root()}/{instance}/raiseEvent/answer", content=b"1")
        told(lines, lambda event: event["event_type"] == "InstanceCompleted")


def test_a_command_behind_somebody_s_open_transaction_is_answered_after_it(
    app_on_kafka: Place, kafka_connection, bootstrap_servers: str, tmp_path: Path
):
    topic = f"wf.{app_of(app_on_kafka)}.commands"
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(WAIT_S)
    producer.begin_transaction()
    theirs = new_id()
    command = {"type": "StartInstance", "instance_id": theirs, "workflow": "chain", "input": 1}
    for partition in range(len(producer.list_topics(topic).topics[topic].partitions)):
        producer.produce(topic, json.dumps(command), key=theirs, partition=partition)
    producer.flush(WAIT_S)
    with serving(kafka_connection, tmp_path, command_wait_s=1.0) as gateway, asking(gateway) as http:
        mine = new_id()
        held = http.post(f"{root()}/chain/start?instanceID={mine}", content=b"1")
        assert held.headers["engine-outcome"] == "undecided"
        producer.abort_transaction(WAIT_S)
        assert http.get(f"/api/v1/instances/{mine}/wait").json()["instance"]["output"] == 4
        assert error(http.get(f"{root()}/{theirs}"))[0] == 404


def test_a_worker_serves_http_beside_its_work(bootstrap_servers: str, tmp_path: Path):
    app = f"http-{uuid.uuid4().hex[:10]}"
    worker = WorkerProcess(
        [
            *COMMAND_LINE,
            "worker",
            "--dev",
            f"--bootstrap-servers={bootstrap_servers}",
            f"--app={app}",
            f"--partitions={PARTITIONS}",
            "--http",
            "--http-port=0",
            SAMPLE,
        ],
        tmp_path,
    )
    try:
        url = worker.wait_log("serving HTTP")[0]["url"]
        worker.wait_log("worker ready")
        with httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False) as http:
            instance = start(http, "chain", b"1")
            assert ended(http, instance)["properties"]["dapr.workflow.output"] == "4"
            assert http.get("/v1.0/metadata").json()["workflows"] == {"connectedWorkers": 1}
        worker.stop()
    finally:
        worker.close()
