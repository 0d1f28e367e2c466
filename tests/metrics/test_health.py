"""Live and ready mean what they say, and say why."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from engine.kafka.settings import KafkaSettings
from engine.node import health
from engine.node.endpoint import Endpoint
from engine.node.worker import Worker
from tests.metrics.running import Running, get, running


def report(port: int, path: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Status, and of each check its own and its detail."""
    status, text = get(port, path)
    body = json.loads(text)
    assert (status == 200) == (body["status"] == "pass")
    return status, {name: (each["status"], each["detail"]) for name, each in body["checks"].items()}


def test_a_worker_that_works_is_live_and_ready(worker: Running) -> None:
    for path in health_paths():
        status, checks = report(worker.endpoint.port, path)
        assert status == 200
        assert {each[0] for each in checks.values()} == {"pass"}
    assert set(report(worker.endpoint.port, "/healthz")[1]) == {"owners", "membership", "claims", "damage"}


def health_paths() -> tuple[str, ...]:
    return ("/healthz", "/healthz/live", "/healthz/ready")


def test_a_process_that_waits_for_its_log_lives_and_is_not_ready() -> None:
    endpoint = Endpoint("127.0.0.1", 0)
    try:
        assert report(endpoint.port, "/healthz/live")[0] == 200
        status, checks = report(endpoint.port, "/healthz/ready")
        assert (status, checks["membership"][1]) == (503, "waits for Kafka, or for its topics")
        assert report(endpoint.port, "/healthz")[0] == 503
    finally:
        endpoint.close()


def test_damage_and_long_claims_make_it_unready_and_leave_it_live(worker: Running) -> None:
    loop = worker.worker.loop
    loop.damaged[1] = "a record is missing"
    status, checks = report(worker.endpoint.port, "/healthz/ready")
    assert (status, checks["damage"]) == (503, ("fail", "partitions 1 are given up; see the log"))
    loop.damaged.clear()
    long_ago = worker.worker.clock.monotonic_ms() - int(health.CLAIMING_SECONDS_MAX * 1000) - 1
    loop.claiming_since_ms.update({0: long_ago, 1: worker.worker.clock.monotonic_ms()})
    status, checks = report(worker.endpoint.port, "/healthz/ready")
    assert (status, checks["claims"]) == (503, ("fail", "partitions 0 are not live after 60 s"))
    assert report(worker.endpoint.port, "/healthz/live")[0] == 200


def test_owners_that_do_not_move_are_not_live(worker: Running) -> None:
    bound_s = worker.worker.settings.turn_seconds_max + health.STOOD_GRACE_SECONDS
    found = health.live(_Stood(worker.worker, int(bound_s * 1000) + 100))
    assert not found.is_good
    assert "up to 15 s is good" in found.checks[0].detail
    assert health.live(_Stood(worker.worker, int(bound_s * 1000) - 100)).is_good


class _Stood(Worker):
    """A worker whose watchdog has seen no move for so long."""

    def __init__(self, worker: Worker, stood_ms: int) -> None:
        self.__dict__ = dict(worker.__dict__)
        self._stood_ms = stood_ms

    @property
    def stood_ms(self) -> int:
        return self._stood_ms


def test_a_worker_that_stops_is_unready(tmp_path: Path) -> None:
    with running(tmp_path) as worker:
        worker.worker.stop()
        status, checks = report(worker.endpoint.port, "/healthz/ready")
        assert (status, checks["membership"]) == (503, ("fail", "stops"))


def test_a_member_is_one_from_its_assignment_until_it_is_thrown_out(bootstrap_servers: str) -> None:
    from engine.kafka.membership import Membership
    from engine.kafka.topics import TopicAdmin

    settings = KafkaSettings(
        bootstrap_servers=bootstrap_servers, app="membership-health", is_dev=True, partitions=1
    )
    TopicAdmin(settings).apply()
    membership = Membership(settings, "wf.membership-health.inbox", "wf.membership-health.owners")
    assert not membership.is_member
    pause = threading.Event()
    while not membership.assignment():
        pause.wait(0.05)
    assert membership.is_member
    membership._lost(membership._consumer, [])
    assert not membership.is_member
    membership.leave()
