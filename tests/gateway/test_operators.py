"""Commands as they stand in the topic; partitions, dead letters and their replay; streams of some types."""

from __future__ import annotations

import json

import pytest

from engine.client import requests
from engine.client.opening import open_embedded
from engine.embedded import EmbeddedLog
from tests.client.running import PARTITIONS, eventually
from tests.gateway.conftest import asking, impatient
from tests.gateway.test_api import API, told
from tests.gateway.test_dapr import error, get, new_id, root, start


def send(http, command):
    content = command if isinstance(command, bytes) else json.dumps(command).encode()
    return http.post(f"{API}/commands", content=content)


def start_of(instance: str) -> dict[str, object]:
    return {"type": "StartInstance", "instance_id": instance, "workflow": "approval", "input": "tea"}


def test_a_command_is_taken_in_json_and_in_avro_and_its_outcome_is_told(http):
    instance = new_id()
    answer = send(http, start_of(instance))
    assert (answer.status_code, answer.json()) == (200, {"instance_id": instance, "outcome": "accepted"})
    assert get(http, instance)["runtimeStatus"] == "RUNNING"
    answer = send(http, requests.terminate(instance, "enough", recursive=True).value)
    assert answer.status_code == 200
    assert get(http, instance)["properties"]["dapr.workflow.output"] == '"enough"'


def test_a_refusal_is_told_with_its_reason(http):
    instance = new_id()
    send(http, start_of(instance))
    assert error(send(http, start_of(instance)))[:2] == (409, "ERR_COMMAND_REFUSED")
    assert "InstanceAlreadyExists" in send(http, start_of(instance)).json()["message"]
    nobody = {"type": "ResumeInstance", "instance_id": new_id()}
    assert error(send(http, nobody))[:2] == (404, "ERR_INSTANCE_ID_NOT_FOUND")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xc3\x01", b'{"type": "CompleteActivity"}', b"[]", b"\xff"]
)
def test_what_is_no_command_is_refused_unsent(http, content):
    assert error(send(http, content))[:2] == (400, "ERR_INVALID_REQUEST")


def test_what_no_worker_takes_in_time_is_undecided(tmp_path):
    EmbeddedLog(tmp_path, partitions=PARTITIONS).close()
    connection = open_embedded(tmp_path)
    with impatient(connection, tmp_path / "read", command_wait_s=0.05) as gateway, asking(gateway) as http:
        answer = send(http, start_of("order-1"))
        assert (answer.status_code, answer.json()["outcome"]) == (202, "undecided")
        assert answer.headers["engine-outcome"] == "undecided"
        assert {each["owner"] for each in http.get(f"{API}/partitions").json()["partitions"]} == {None}
    connection.close()


def test_partitions_say_who_has_them_and_what_lives_in_them(http):
    instance = new_id()
    send(http, start_of(instance))
    found = http.get(f"{API}/partitions").json()["partitions"]
    assert [each["partition"] for each in found] == list(range(PARTITIONS))
    assert sum(each["live_instances"] for each in found) >= 1
    assert all(each["epoch"] >= 1 and each["committed_at"].endswith("Z") for each in found)


# --- dead letters ---


def letters(http, **query) -> dict[str, object]:
    return http.get(f"{API}/deadletters", params=query).json()


def refused(http) -> dict[str, object]:
    """An event for an instance that nobody knows."""
    nobody = new_id()
    http.post(f"{root()}/{nobody}/raiseEvent/x", content=b"1")
    return eventually(lambda: letters(http, prefix=nobody)["dead_letters"], lambda found: len(found) == 1)[0]


def replay(http, **body):
    return http.post(f"{API}/deadletters/replay", json=body).json()


def test_dead_letters_are_listed_and_shown(http):
    letter = refused(http)
    assert (letter["reason"], letter["is_replayed"]) == ("InstanceNotFound", False)
    whole = http.get(f"{API}/deadletters/{letter['place']}").json()
    assert whole | {"command": None} == letter
    assert (whole["command"]["type"], whole["command"]["instance_id"]) == ("RaiseEvent", letter["key"])
    assert letters(http, prefix=letter["key"], reason="Malformed") == {"dead_letters": [], "total": 0}
    assert letters(http, limit=1)["total"] >= len(letters(http, limit=1)["dead_letters"]) == 1
    assert error(http.get(f"{API}/deadletters/0/999999"))[:2] == (404, "ERR_DEAD_LETTER_NOT_FOUND")
    assert error(http.get(f"{API}/deadletters/0/x"))[:2] == (400, "ERR_INVALID_REQUEST")


def test_a_dead_letter_is_replayed_once_and_not_unless_it_is_said(http):
    places = [refused(http)["place"] for _ in range(3)]
    wanted = {"places": places}
    assert replay(http, filter=wanted) == {"dry_run": True, "places": places, "replayed": 0, "more": False}
    some = replay(http, filter=wanted, dry_run=False, limit=2)
    assert some == {"dry_run": False, "places": places[:2], "replayed": 2, "more": True}
    rest = replay(http, filter=wanted, dry_run=False, after=places[1])
    assert (rest["places"], rest["replayed"]) == (places[2:], 1)
    assert replay(http, filter=wanted, dry_run=False)["replayed"] == 0
    assert http.get(f"{API}/deadletters/{places[0]}").json()["is_replayed"]
    answer = http.post(f"{API}/deadletters/replay", json={"filter": {"places": ["x"]}})
    assert error(answer)[:2] == (400, "ERR_INVALID_REQUEST")


# --- streams of some types ---


def test_a_stream_of_some_types_tells_of_no_others(http):
    with http.stream("GET", f"{API}/events", params={"type": ["InstanceCompleted"]}) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": listening"
        instance = new_id()
        start(http, "chain", b"1", instanceID=instance)
        events = told(lines, lambda event: event["instance_id"] == instance)
    assert {event["data"]["event_type"] for event in events} == {"InstanceCompleted"}
    assert error(http.get(f"{API}/events", params={"type": "Nonsense"}))[:2] == (400, "ERR_INVALID_REQUEST")
