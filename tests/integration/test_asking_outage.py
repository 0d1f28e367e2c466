"""Who asks a Kafka that is down again and again has an answer when it is back: nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from confluent_kafka import KafkaException

from engine.errors import Fault
from engine.kafka.lags import KafkaLags
from engine.kafka.membership import Membership, owners_group, partition_owners
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from tests.client.running import eventually
from tests.integration.conftest import StartBroker

PARTITIONS = (0, 1)
# As long as an outage is, compared with what a request may take, the worse it is for who asks.
TRIES = 5
INBOX = "wf.outage.inbox"


def answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (Fault, KafkaException):
        return False
    return True


def test_lags_and_owners_are_told_again_after_an_outage(start_broker: StartBroker) -> None:
    broker = start_broker()
    patient = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers, app="outage", partitions=len(PARTITIONS), is_dev=True
    )
    TopicAdmin(patient).apply()
    settings = msgspec.structs.replace(patient, request_timeout_ms=1_000)
    member = Membership(settings, INBOX, owners_group(settings))
    eventually(member.assignment, set(PARTITIONS).__eq__)
    lags = KafkaLags(settings)
    questions = [lambda: lags.read(PARTITIONS, PARTITIONS), lambda: partition_owners(settings, INBOX)]
    for ask in questions:
        eventually(lambda ask=ask: answers(ask), bool)
    assert partition_owners(settings, INBOX).keys() == set(PARTITIONS)

    broker.kill()
    for _ in range(TRIES):
        assert [answers(ask) for ask in questions] == [False, False]
    broker.start()

    for ask in questions:
        eventually(lambda ask=ask: answers(ask), bool)
    member.leave()
