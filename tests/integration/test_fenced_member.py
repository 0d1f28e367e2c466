"""A member whose id was taken, or that Kafka takes for its own rival, joins again; one with a rival goes."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from engine.errors import FencedFault
from engine.kafka.membership import Membership, close_aside
from engine.kafka.settings import KafkaSettings
from engine.kafka.source import KafkaCommandSource
from engine.kafka.topics import TopicAdmin
from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.harness import AppUnderTest

GROUP = "owners"
ALL = {0, 1}
NEVER = (None, None)


@pytest.fixture
def settings(bootstrap_servers: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        app=f"fenced-{uuid.uuid4().hex[:8]}",
        partitions=len(ALL),
        is_dev=True,
        session_timeout_ms=1_500,
        heartbeat_interval_ms=100,
    )
    TopicAdmin(settings).apply()
    return settings


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        # The members are asked, for nothing tells of them; not so often that the broker has no time for them.
        time.sleep(0.01)


def open_rival(settings: KafkaSettings) -> Membership:
    return Membership(settings, f"wf.{settings.app}.inbox", f"wf.{settings.app}.owners")


def new_member(settings: KafkaSettings) -> Membership:
    member = Membership(settings, f"wf.{settings.app}.inbox", f"{settings.app}.{GROUP}")
    wait_until(lambda: member.assignment() == ALL)
    return member


def new_source(settings: KafkaSettings) -> KafkaCommandSource:
    source = KafkaCommandSource(settings, "topic-id")
    wait_until(lambda: not source.poll(10) and source.assignment().keys() == ALL)
    return source


def test_a_member_that_was_fenced_once_joins_again(settings: KafkaSettings) -> None:
    member = new_member(settings)
    close_aside(new_member(settings)._consumer)

    wait_until(lambda: not member.assignment())
    wait_until(lambda: member.assignment() == ALL)
    member.leave()


def test_a_fenced_member_that_has_progress_to_tell_is_not_fenced_for_telling_it(
    settings: KafkaSettings,
) -> None:
    member = new_member(settings)
    offsets = itertools.count(1)

    def told() -> frozenset[int]:
        member.report(dict.fromkeys(ALL, next(offsets)))
        return member.assignment()

    close_aside(new_member(settings)._consumer)
    wait_until(lambda: not told())
    wait_until(lambda: told() == ALL)
    member.leave()


def test_a_member_with_a_rival_goes(settings: KafkaSettings) -> None:
    member, rival = new_member(settings), new_member(settings)

    with pytest.raises(FencedFault, match="another has its id"):
        wait_until(lambda: (member.assignment(), rival.assignment()) == NEVER)


def test_a_worker_with_a_rival_ends_and_says_why(subject: AppUnderTest) -> None:
    worker = subject.worker()
    (ready,) = worker.wait_ready()
    settings = KafkaSettings(
        bootstrap_servers=subject.bootstrap_servers,
        app=subject.app,
        member=ready["member"],
        session_timeout_ms=1_500,
        heartbeat_interval_ms=100,
    )
    rivals = [open_rival(settings)]

    def has_ended() -> bool:
        """Whoever of the two goes first: a rival that went is replaced."""
        try:
            rivals[-1].assignment()
        except FencedFault:
            rivals.append(open_rival(settings))
        return worker.has_ended_with_all_children

    wait_until(has_ended)
    assert worker.wait() == 1
    (last,) = worker.wait_log("FencedFault: this worker is no member of its group any more")
    assert last["level"] == "critical"


def test_an_ingress_that_was_fenced_once_joins_again_and_reads_on(settings: KafkaSettings) -> None:
    source = new_source(settings)
    sessions = source.assignment()
    close_aside(new_source(settings)._consumer)

    wait_until(lambda: not source.poll(10) and not source.assignment())
    wait_until(lambda: not source.poll(10) and source.assignment().keys() == ALL)
    assert min(source.assignment().values()) > max(sessions.values())
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    producer.produce(f"wf.{settings.app}.commands", b"a command")
    assert producer.flush(PATIENCE_SECONDS) == 0
    read = []
    wait_until(lambda: read.extend(source.poll(10)) or bool(read))
    assert [record.value for record in read] == [b"a command"]
    source.close()
