"""A broker that was killed comes back, its partitions led in new epochs: worker and client go on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client import WorkflowClient
from engine.codec.topics import topics_of
from engine.kafka.log import KafkaLog
from engine.kafka.settings import KafkaSettings, open_admin
from engine.kafka.topics import TopicAdmin, topic_ids
from ops.kafka.broker import KafkaBroker
from ops.kafka.cluster import KafkaCluster
from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.harness import AppUnderTest

APP = "killed"


@pytest.fixture
def broker(kafka_distribution: object, tmp_path: Path) -> Iterator[KafkaBroker]:
    cluster = KafkaCluster(tmp_path / "kafka")
    try:
        cluster.start()
        yield cluster.brokers[0]
    finally:
        cluster.kill()


@pytest.fixture
def subject(broker: KafkaBroker, tmp_path: Path) -> Iterator[AppUnderTest]:
    app = AppUnderTest(broker.bootstrap_servers, tmp_path)
    yield app
    app.close()


def test_a_client_whose_broker_is_gone_for_good_asks_another(
    kafka_distribution: object, tmp_path: Path
) -> None:
    """Of many questions librdkafka asks one broker alone, and waits for it for five minutes."""
    cluster = KafkaCluster(tmp_path / "kafka", 3)
    try:
        cluster.start()
        settings = KafkaSettings(
            bootstrap_servers=cluster.bootstrap_servers, app=APP, partitions=1, is_dev=True
        )
        TopicAdmin(settings).apply()
        name = topics_of(settings.namespace, APP).commands
        admin = open_admin(settings)
        before = topic_ids(admin, [name], settings.request_timeout_ms)
        asked = admin.list_topics(timeout=PATIENCE_SECONDS).controller_id
        cluster.brokers[asked - 1].kill()
        assert topic_ids(admin, [name], int(PATIENCE_SECONDS * 1000)) == before
    finally:
        cluster.kill()


# Its broker starts twice, which may take long where much else is at work.
@pytest.mark.timeout(400)
def test_a_worker_and_its_client_go_on_after_the_broker_was_killed(
    broker: KafkaBroker, subject: AppUnderTest
) -> None:
    servers = broker.bootstrap_servers
    worker = subject.worker()
    worker.wait_ready()
    log = KafkaLog(KafkaSettings(bootstrap_servers=servers, app=APP, partitions=1, is_dev=True))
    log.release(log.claim(0))
    with WorkflowClient.kafka(bootstrap_servers=servers, app=subject.app) as client:
        before = client.schedule_new_workflow("waiter", instance_id=uuid.uuid4().hex)
        client.wait_for_workflow_start(before, timeout_in_seconds=PATIENCE_SECONDS)

        broker.kill()
        broker.start()

        log.release(log.claim(0))
        after = client.schedule_new_workflow("chain", input=1)
        client.raise_workflow_event(before, "add", data=5)
        client.raise_workflow_event(before, "add", data=0)
        for instance_id, output in ((before, 5), (after, 4)):
            ended = client.wait_for_workflow_completion(instance_id, timeout_in_seconds=PATIENCE_SECONDS)
            assert ended.output == output
    log.close()
    worker.stop()
