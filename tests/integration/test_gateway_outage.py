"""A gateway whose Kafka is gone says so, and goes on when it is back."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from engine.client.opening import open_kafka
from engine.gateway.http import LAG, OUTCOME, UNDECIDED
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from tests.client.running import eventually
from tests.gateway.conftest import WAIT_S, asking, serving
from tests.gateway.test_restart import Process, ended_after
from tests.integration.conftest import StartBroker


def start(http: httpx.Client) -> httpx.Response:
    path, key = "/v1.0/workflows/dapr/chain/start?instanceID=one", {"idempotency-key": "one"}
    return http.post(path, content=b"1", headers=key)


def test_a_gateway_tells_that_nobody_answers_until_somebody_does(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = start_broker()
    TopicAdmin(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, app="outage", is_dev=True)).apply()
    connection = open_kafka(broker.bootstrap_servers, "outage", "wf", None)
    with serving(connection, tmp_path / "read", command_wait_s=1) as gateway, asking(gateway) as http:

        def health() -> tuple[int, int]:
            paths = ("/v1.0/healthz", "/v1.0/healthz/outbound")
            return tuple(http.get(path).status_code for path in paths)  # type: ignore[return-value]

        eventually(health, (204, 204).__eq__, WAIT_S)
        broker.kill()
        eventually(health, (500, 500).__eq__, WAIT_S)
        # It is certain that nothing was sent, so the key is free for another try.
        refused = start(http)
        assert (refused.status_code, refused.json()["errorCode"]) == (500, "ERR_START_WORKFLOW")
        assert "nothing was sent" in refused.json()["message"]
        assert LAG not in http.get("/api/v1/counts").headers
        broker.start()
        eventually(health, (204, 204).__eq__, WAIT_S)
        # No worker is there to decide.
        assert (start(http).status_code, start(http).headers[OUTCOME]) == (202, UNDECIDED)
        assert LAG in http.get("/api/v1/counts").headers
    connection.close()


@pytest.mark.parametrize("projections", [1, 2])
def test_a_gateway_whose_kafka_is_down_ends_all_the_same(
    start_broker: StartBroker, tmp_path: Path, projections: int
) -> None:
    broker = start_broker()
    TopicAdmin(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, app="outage", is_dev=True)).apply()
    log = ("--bootstrap-servers", broker.bootstrap_servers, "--app", "outage")
    options = ("--http-port", "0", "--projections", str(projections))
    with ended_after(Process(log, tmp_path / "read", *options)) as gateway:
        with httpx.Client(base_url=gateway.url, timeout=WAIT_S, trust_env=False) as http:
            eventually(lambda: http.get("/v1.0/healthz").status_code, (204).__eq__, WAIT_S)
            broker.kill()
            eventually(lambda: http.get("/v1.0/healthz").status_code, (500).__eq__, WAIT_S)
        assert gateway.end(signal.SIGTERM) == 0
