"""A repeated request is the same request: one command, one answer, across restarts."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.client import WorkflowClient
from engine.client.opening import open_embedded
from engine.embedded import EmbeddedLog
from engine.gateway import idempotency
from engine.gateway.server import KEYS_FILE
from tests.client.running import PARTITIONS, eventually, on_a_directory
from tests.gateway.conftest import WAIT_S, asking, impatient, serving
from tests.gateway.test_dapr import ended, error, get, new_id, root, start


@pytest.fixture
def key() -> dict[str, str]:
    return {"idempotency-key": uuid.uuid4().hex}


def raise_answer(http, instance: str, content: bytes, headers):
    return http.post(f"{root()}/{instance}/raiseEvent/answer", content=content, headers=headers)


def raised(http, instance: str) -> int:
    events = http.get(f"/api/v1/instances/{instance}/history").json()["events"]
    return sum(event["event_type"] == "EventRaised" for event in events)


def test_an_event_is_raised_once_and_answered_twice(http, key):
    instance = start(http, "sleeper", b"60")
    first = raise_answer(http, instance, b"1", key)
    again = raise_answer(http, instance, b"1", key)
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (202, {})
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["engine-outcome"] == "accepted"
    assert raised(http, instance) == 1


def test_without_a_key_the_same_event_is_raised_twice(http):
    instance = start(http, "sleeper", b"60")
    for _ in range(2):
        raise_answer(http, instance, b"1", {})
    assert raised(http, instance) == 2


def test_at_the_same_time_too_it_is_one(http, key):
    instance = start(http, "sleeper", b"60")
    threads = [threading.Thread(target=raise_answer, args=(http, instance, b"1", key)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert raised(http, instance) == 1


def test_a_start_without_an_id_gets_that_of_its_key(http, key):
    ids = {
        http.post(f"{root()}/chain/start", content=b"1", headers=key).json()["instanceID"] for _ in range(3)
    }
    assert len(ids) == 1
    assert ended(http, ids.pop())["properties"]["dapr.workflow.output"] == "4"


def test_a_refusal_is_remembered_as_well(http, key):
    instance = new_id()
    first = raise_answer(http, instance, b"1", key)
    start(http, "sleeper", b"60", instanceID=instance)
    again = raise_answer(http, instance, b"1", key)
    assert error(first) == error(again)
    assert again.headers["idempotency-replayed"] == "true"
    assert raised(http, instance) == 0


def test_a_key_belongs_to_one_request(http, key):
    instance = start(http, "sleeper", b"60")
    raise_answer(http, instance, b"1", key)
    assert error(raise_answer(http, instance, b"2", key))[:2] == (422, "ERR_IDEMPOTENCY_KEY_REUSED")
    other = http.post(f"{root()}/{instance}/terminate", headers=key)
    assert error(other)[:2] == (422, "ERR_IDEMPOTENCY_KEY_REUSED")


def test_a_request_that_was_not_understood_leaves_its_key_free(http, key):
    assert error(http.post("/api/v1/bulk/purge", content=b"{", headers=key))[0] == 400
    body = {"filter": {"prefix": "no such prefix"}}
    assert http.post("/api/v1/bulk/purge", json=body, headers=key).status_code == 200


@pytest.mark.parametrize("text", ["", "x" * 256, "tab\there"])
def test_a_key_has_bounds(http, text):
    answer = http.post(f"{root()}/chain/start", headers={"idempotency-key": text})
    assert error(answer)[:2] == (400, "ERR_INVALID_REQUEST")


def test_keys_outlive_the_gateway(connection, tmp_path: Path, key):
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        instance = start(http, "sleeper", b"60")
        raise_answer(http, instance, b"1", key)
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        again = raise_answer(http, instance, b"1", key)
        assert again.headers["idempotency-replayed"] == "true"
        assert raised(http, instance) == 1


def cut_off(directory: Path) -> None:
    """As if the gateway had died before it knew the answers."""
    with closing(sqlite3.connect(directory / KEYS_FILE)) as database:
        database.execute("UPDATE requests SET answer = NULL")
        database.commit()


def test_a_request_that_was_cut_off_is_not_sent_again(connection, tmp_path: Path, key):
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        instance = start(http, "sleeper", b"60")
        raise_answer(http, instance, b"1", key)
    cut_off(tmp_path)
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        again = raise_answer(http, instance, b"1", key)
        assert error(again)[:2] == (409, "ERR_IDEMPOTENCY_OUTCOME_UNKNOWN")
        assert raised(http, instance) == 1


def test_a_start_that_was_cut_off_is_found_by_its_key(connection, tmp_path: Path, key):
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        first = http.post(f"{root()}/sleeper/start", content=b"60", headers=key).json()
    cut_off(tmp_path)
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        again = http.post(f"{root()}/sleeper/start", content=b"60", headers=key)
        assert (again.status_code, again.json()) == (202, first)
        events = http.get(f"/api/v1/instances/{first['instanceID']}/history").json()["events"]
        assert events[0]["event_type"] == "InstanceStarted"


def test_keys_are_forgotten_after_a_day(connection, tmp_path: Path, key, monkeypatch):
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        instance = start(http, "sleeper", b"60")
        raise_answer(http, instance, b"1", key)
        monkeypatch.setattr(idempotency, "KEPT_S", -10)
        monkeypatch.setattr(idempotency, "FORGET_EVERY", 1)
        raise_answer(http, instance, b"1", key)
        eventually(lambda: raised(http, instance), (2).__eq__)
        assert get(http, instance)["runtimeStatus"] == "RUNNING"


# --- undecided, and decided after that ---


@pytest.fixture
def idle(tmp_path: Path):
    """The log of an app whose worker is yet to come."""
    EmbeddedLog(tmp_path / ".engine", partitions=PARTITIONS).close()
    return tmp_path / ".engine"


@contextmanager
def asking_in_vain(directory: Path):
    """A caller of a gateway that soon answers that nothing is decided."""
    with (
        closing(open_embedded(directory)) as connection,
        impatient(connection, directory, command_wait_s=0.2) as gateway,
        asking(gateway) as http,
    ):
        yield http


def start_sleeper(http, instance: str, headers):
    return http.post(f"{root()}/sleeper/start?instanceID={instance}", content=b"60", headers=headers)


def test_what_was_undecided_is_told_when_it_is_decided_and_is_sent_once(idle: Path, key):
    instance, other = new_id(), {"idempotency-key": uuid.uuid4().hex}
    with asking_in_vain(idle) as http:
        for _ in range(2):
            assert start_sleeper(http, instance, key).headers["engine-outcome"] == "undecided"
            assert raise_answer(http, "nobody", b"1", other).headers["engine-outcome"] == "undecided"
        with on_a_directory(idle):
            eventually(
                lambda: start_sleeper(http, instance, key).headers["engine-outcome"], "accepted".__eq__
            )
            eventually(lambda: raise_answer(http, "nobody", b"1", other).status_code, lambda it: it != 202)
        refused = raise_answer(http, "nobody", b"1", other)
        assert "no such instance exists" in error(refused)[2]
        assert refused.headers["idempotency-replayed"] == "true"
    with WorkflowClient.embedded(idle) as client:
        # A second start would have been refused, a second event too.
        assert len(list(client.read_dead_letters())) == 1


def test_a_repeat_in_another_life_of_the_gateway_sends_nothing_and_stays_undecided(idle: Path, key):
    instance = new_id()
    for _ in range(2):
        with asking_in_vain(idle) as http:
            assert start_sleeper(http, instance, key).headers["engine-outcome"] == "undecided"
    with on_a_directory(idle), WorkflowClient.embedded(idle) as client:
        client.wait_for_workflow_start(instance)
        assert list(client.read_dead_letters()) == []
