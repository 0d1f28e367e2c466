"""A gateway whose Kafka is gone says so, and goes on when it is back."""

from __future__ import annotations

from pathlib import Path

from engine.client.opening import open_kafka
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from tests.client.running import eventually
from tests.gateway.conftest import WAIT_S, asking, serving
from tests.integration.conftest import StartBroker


def test_a_gateway_tells_that_nobody_answers_until_somebody_does(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = start_broker()
    TopicAdmin(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, app="outage", is_dev=True)).apply()
    connection = open_kafka(broker.bootstrap_servers, "outage", "wf", None)
    with serving(connection, tmp_path / "read") as gateway, asking(gateway) as http:

        def health() -> tuple[int, int]:
            paths = ("/v1.0/healthz", "/v1.0/healthz/outbound")
            return tuple(http.get(path).status_code for path in paths)  # type: ignore[return-value]

        eventually(health, (204, 204).__eq__, WAIT_S)
        broker.kill()
        eventually(health, (500, 500).__eq__, WAIT_S)
        broker.start()
        eventually(health, (204, 204).__eq__, WAIT_S)
    connection.close()
