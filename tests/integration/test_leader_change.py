"""A leader that the controller took for dead leads again, in a new epoch: nobody may stay behind for it."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from engine.client import WorkflowClient
from engine.kafka.log import KafkaLog
from engine.kafka.offsets import list_offsets
from engine.kafka.settings import KafkaSettings
from ops.kafka.broker import KafkaBroker
from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.conftest import StartBroker

APP = "leaders"
SESSION_SECONDS = 1.0
SESSION = {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "200"}


def is_behind(client: AdminClient) -> bool:
    """Whether this client, which looks for nothing by itself, names an epoch that is over."""
    place = TopicPartition(f"wf.{APP}.history", 0)
    try:
        client.list_offsets({place: OffsetSpec.latest()})[place].result(PATIENCE_SECONDS)
    except KafkaException as problem:
        return problem.args[0].code() == KafkaError.FENCED_LEADER_EPOCH
    return False


def end_the_leaders_epoch(broker: KafkaBroker, witness: AdminClient) -> None:
    """Stops the broker, which is its own controller, until that finds the session over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    assert not is_behind(witness)
    while not is_behind(witness):
        assert time.monotonic() < deadline, "expected a new leader epoch, but the broker kept its session"
        os.kill(broker.pid or 0, signal.SIGSTOP)
        # All that would tell is stopped as well.
        time.sleep(2 * SESSION_SECONDS)
        os.kill(broker.pid or 0, signal.SIGCONT)


class Admin:
    """Answers as librdkafka does while a leader changes: with an offset that is none, and no error."""

    def __init__(self) -> None:
        self.answers = [OFFSET_INVALID, OFFSET_INVALID, 7]
        self.refreshed = 0

    def list_offsets(self, places: dict[TopicPartition, OffsetSpec], **_: object) -> dict[Any, Any]:
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(offset=self.answers.pop(0)))
        return dict.fromkeys(places, answer)

    def list_topics(self, *_: object) -> None:
        self.refreshed += 1


def test_an_offset_that_is_none_is_asked_for_again() -> None:
    admin = Admin()
    asked = {0: OffsetSpec.latest()}
    found = list_offsets(admin, "t", asked, IsolationLevel.READ_UNCOMMITTED, 10_000)  # type: ignore[arg-type]
    assert found == {0: 7}
    assert admin.refreshed == 2


def test_an_offset_that_stays_none_is_an_error() -> None:
    admin = Admin()
    asked = {0: OffsetSpec.latest()}
    with pytest.raises(KafkaException):
        list_offsets(admin, "t", asked, IsolationLevel.READ_UNCOMMITTED, 0)  # type: ignore[arg-type]


def test_claims_and_clients_follow_a_leader_into_its_new_epoch(start_broker: StartBroker) -> None:
    broker = start_broker(SESSION)
    servers = broker.bootstrap_servers
    log = KafkaLog(KafkaSettings(bootstrap_servers=servers, app=APP, partitions=1, is_dev=True))
    with WorkflowClient.kafka(bootstrap_servers=servers, app=APP) as client:
        log.release(log.claim(0))
        assert client.list_workflow_instances() == []

        end_the_leaders_epoch(broker, AdminClient({"bootstrap.servers": servers}))

        log.release(log.claim(0))
        assert client.list_workflow_instances() == []
    log.close()
