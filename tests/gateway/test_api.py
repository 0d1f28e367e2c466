"""What goes beyond Dapr: lists, counts, histories, waits, streams, many at once."""

from __future__ import annotations

import json
import threading
import uuid

import pytest

from tests.client.running import eventually
from tests.gateway.test_dapr import ended, error, get, new_id, root, start

API = "/api/v1"


def prefix() -> str:
    return f"api-{uuid.uuid4().hex[:8]}-"


def listed(http, **query) -> list[str]:
    answer = http.get(f"{API}/instances", params=query)
    assert answer.status_code == 200, answer.text
    return [each["instance_id"] for each in answer.json()["instances"]]


# --- lists ---


def test_instances_are_listed_by_any_filter(http):
    mine = prefix()
    ids = [start(http, "chain", b"1", instanceID=f"{mine}{number}") for number in range(3)]
    waiting = start(http, "approval", b'"tea"', instanceID=f"{mine}w")
    for instance in ids:
        ended(http, instance)
    assert set(listed(http, prefix=mine)) == {*ids, waiting}
    assert listed(http, prefix=mine, status="RUNNING") == [waiting]
    assert set(listed(http, prefix=mine, status=["RUNNING", "COMPLETED"])) == {*ids, waiting}
    assert listed(http, prefix=mine, workflow="approval") == [waiting]
    assert listed(http, prefix=mine, order="id") == [*ids, waiting]
    created = http.get(f"{API}/instances/{waiting}").json()["created_at"]
    assert waiting not in listed(http, prefix=mine, created_before=created)
    assert waiting in listed(http, prefix=mine, created_from=created)


def test_a_list_goes_on_where_its_page_ended(http):
    mine = prefix()
    ids = [start(http, "chain", b"1", instanceID=f"{mine}{number}") for number in range(7)]
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = http.get(
            f"{API}/instances", params={"prefix": mine, "limit": 3, "order": "id", **after}
        ).json()
        seen += [each["instance_id"] for each in page["instances"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == ids


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "HAPPY"}, "status"),
        ({"order": "best"}, "order"),
        ({"created_from": "yesterday"}, "created_from"),
        ({"created_from": "2026-01-01T00:00:00"}, "created_from"),
        ({"after": "nonsense"}, "mark of a page"),
    ],
)
def test_a_query_that_means_nothing_is_refused_by_name(http, query, named):
    status, code, message = error(http.get(f"{API}/instances", params=query))
    assert (status, code) == (400, "ERR_INVALID_REQUEST")
    assert named in message


def test_unknown_parameters_are_ignored(http):
    assert http.get(f"{API}/instances", params={"limit": 1, "colour": "red"}).status_code == 200


def test_counts_are_of_all_instances(http):
    def count() -> int:
        counts = http.get(f"{API}/counts").json()["counts"]
        return sum(c["instances"] for c in counts if (c["workflow"], c["status"]) == ("approval", "RUNNING"))

    before = count()
    start(http, "approval", b'"tea"')
    assert count() == before + 1


def test_answers_say_by_how_much_the_read_model_is_behind(http):
    assert http.get(f"{API}/counts").headers["engine-projection-lag"].isdigit()


# --- one instance ---


def test_an_instance_is_shown_with_values_instead_of_texts(http):
    instance = start(http, "approval", b'{"n": 123456789012345678901234567890, "f": 0.10}')
    answer = http.get(f"{API}/instances/{instance}")
    # No number passed through a double, or through anything.
    assert b'"n": 123456789012345678901234567890, "f": 0.10' in answer.content
    shown = answer.json()
    assert shown["status"] == "RUNNING"
    assert shown["custom_status"] == "waiting"
    assert (shown["output"], shown["failure"], shown["is_unreadable"]) == (None, None, False)


def test_a_failure_is_shown(http):
    instance = start(http, "failing", b'"no tea"')
    ended(http, instance)
    failure = http.get(f"{API}/instances/{instance}").json()["failure"]
    assert "no tea" in failure["message"]


def test_history_is_decoded_and_paged(http):
    instance = start(http, "chain", b"4")
    ended(http, instance)
    first = http.get(f"{API}/instances/{instance}/history", params={"limit": 3}).json()
    assert [event["event_id"] for event in first["events"]] == [1, 2, 3]
    assert first["events"][0]["attributes"]["input"] == 4
    assert first["next"] == 3
    rest = http.get(f"{API}/instances/{instance}/history", params={"after": 3}).json()
    assert [event["event_id"] for event in rest["events"]] == [4, 5, 6, 7, 8]
    assert rest["events"][-1]["event_type"] == "InstanceCompleted"
    assert rest["next"] is None


def test_children_are_listed_and_know_their_parent(http):
    instance = start(http, "parent", b"3")
    ended(http, instance)
    expected = [f"{instance}-{number}" for number in range(3)]
    children = http.get(f"{API}/instances/{instance}/children").json()["children"]
    assert children == [{"instance_id": each, "workflow": "chain"} for each in expected]
    assert sorted(listed(http, parent=instance)) == expected
    assert http.get(f"{API}/instances/{expected[0]}").json()["parent_instance_id"] == instance


@pytest.mark.parametrize("path", ["", "/history", "/children"])
def test_nobody_is_not_found(http, path):
    assert error(http.get(f"{API}/instances/nobody{path}"))[:2] == (404, "ERR_INSTANCE_ID_NOT_FOUND")


# --- waits ---


def test_a_wait_ends_with_the_outcome(http):
    instance = start(http, "approval", b'"tea"')
    answers = []

    def wait() -> None:
        answers.append(http.get(f"{API}/instances/{instance}/wait", params={"timeout_seconds": 30}).json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    http.post(f"{root()}/{instance}/raiseEvent/answer", content=b"1")
    waiting.join(40)
    assert answers[0]["is_met"] is True
    assert answers[0]["instance"]["output"] == {"item": "tea", "answer": 1}


def test_a_wait_for_what_is_over_ends_at_once(http):
    instance = start(http, "chain", b"1")
    ended(http, instance)
    waited = http.get(f"{API}/instances/{instance}/wait").json()
    assert (waited["is_met"], waited["instance"]["output"]) == (True, 4)


def test_a_wait_that_is_not_met_says_where_the_instance_stands(http):
    instance = start(http, "approval", b'"tea"')
    waited = http.get(f"{API}/instances/{instance}/wait", params={"timeout_seconds": 0.1}).json()
    assert (waited["is_met"], waited["instance"]["status"]) == (False, "RUNNING")
    nobody = http.get(f"{API}/instances/nobody/wait", params={"timeout_seconds": 0.1}).json()
    assert nobody == {"is_met": False, "instance": None}


def test_a_wait_for_a_start_ends_with_it_even_if_it_comes_later(http):
    instance = new_id()
    answers = []

    def wait() -> None:
        query = {"until": "started", "timeout_seconds": 30}
        answers.append(http.get(f"{API}/instances/{instance}/wait", params=query).json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    start(http, "approval", b'"tea"', instanceID=instance)
    waiting.join(40)
    assert (answers[0]["is_met"], answers[0]["instance"]["status"]) == (True, "RUNNING")


@pytest.mark.parametrize("seconds", ["-1", "301", "nan", "soon"])
def test_a_wait_has_bounds(http, seconds):
    answer = http.get(f"{API}/instances/nobody/wait", params={"timeout_seconds": seconds})
    assert error(answer)[:2] == (400, "ERR_INVALID_REQUEST")


# --- streams ---


def told(lines, until) -> list[dict[str, object]]:
    """The events of a stream, as far as one that `until` accepts."""
    events: list[dict[str, object]] = []
    fields: dict[str, object] = {}
    for line in lines:
        name, _, text = line.partition(": ")
        if name:
            fields[name] = json.loads(text) if name == "data" else text
        elif not line and "data" in fields:
            events.append(fields)
            if until(fields["data"]):
                return events
            fields = {}
    pytest.fail("the stream ended before")


def test_a_stream_tells_what_is_on_record_and_what_comes(http, gateway):
    instance = start(http, "approval", b'"tea"')
    with http.stream("GET", f"{API}/instances/{instance}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        first = told(lines, lambda event: event["event_type"] == "CustomStatusSet")
        assert [event["data"]["event_id"] for event in first] == [1, 2]
        http.post(f"{root()}/{instance}/raiseEvent/answer", content=b"1")
        rest = told(lines, lambda event: event["event_type"] == "InstanceCompleted")
        assert [event["data"]["event_id"] for event in rest] == [3, 4]
        assert rest[-1]["data"]["attributes"]["output"] == {"item": "tea", "answer": 1}
    # A reader that comes again goes on behind the last event it has.
    headers = {"last-event-id": first[-1]["id"]}
    with http.stream("GET", f"{API}/instances/{instance}/events", headers=headers) as stream:
        again = told(stream.iter_lines(), lambda event: event["event_type"] == "InstanceCompleted")
    assert [event["data"]["event_id"] for event in again] == [3, 4]


@pytest.mark.parametrize("text", ["x", "run/", "/1", "run/x", "run/99999999999"])
def test_an_event_that_no_stream_named_is_refused(http, text):
    answer = http.get(f"{API}/instances/x/events", headers={"last-event-id": text})
    assert error(answer)[:2] == (400, "ERR_INVALID_REQUEST")


def test_a_stream_of_all_tells_of_every_instance(http):
    ids = [new_id(), new_id()]
    with http.stream("GET", f"{API}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": listening"
        for instance in ids:
            start(http, "chain", b"1", instanceID=instance)
        over: set[object] = set()

        def is_last(event) -> bool:
            if event["event_type"] == "InstanceCompleted":
                over.add(event["instance_id"])
            return over >= set(ids)

        shown = told(lines, is_last)
    # Where it ended nobody can go on: a name would promise that.
    assert all("id" not in event for event in shown)
    events = [event["data"] for event in shown]
    for instance in ids:
        mine = [event["event_id"] for event in events if event["instance_id"] == instance]
        assert mine == list(range(1, 9))


# --- many at once ---


def bulk(http, verb: str, **body):
    answer = http.post(f"{API}/bulk/{verb}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_many_are_terminated_and_purged_and_nothing_is_done_by_default(http):
    mine = prefix()
    ids = [start(http, "approval", b'"tea"', instanceID=f"{mine}{number}") for number in range(5)]
    finished = start(http, "chain", b"1", instanceID=f"{mine}f")
    ended(http, finished)
    dry = bulk(http, "terminate", filter={"prefix": mine})
    assert (dry["dry_run"], dry["matched"], dry["accepted"], dry["instance_ids"]) == (True, 5, 0, ids)
    assert get(http, ids[0])["runtimeStatus"] == "RUNNING"
    some = bulk(http, "terminate", filter={"prefix": mine}, dry_run=False, limit=2)
    assert (some["matched"], some["accepted"], some["more"]) == (2, 2, True)
    rest = bulk(http, "terminate", filter={"prefix": mine, "status": ["RUNNING"]}, dry_run=False)
    assert (rest["matched"], rest["accepted"], rest["more"]) == (3, 3, False)
    assert set(listed(http, prefix=mine, status="TERMINATED")) == set(ids)
    purged = bulk(http, "purge", filter={"prefix": mine}, dry_run=False)
    assert (purged["matched"], purged["accepted"]) == (6, 6)
    assert listed(http, prefix=mine) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"filter": 1}', b'{"filter": {}, "limit": 0}', b'{"filter": null}']
)
def test_what_is_meant_must_be_said(http, content):
    assert error(http.post(f"{API}/bulk/purge", content=content))[:2] == (400, "ERR_MALFORMED_REQUEST")


@pytest.mark.parametrize(
    "body", [{"filter": {"prefx": "a"}, "dry_run": False}, {"filter": {}, "dryrun": True}, {"prefix": "a"}]
)
def test_a_condition_that_is_not_known_is_refused_for_it_would_mean_more(http, body):
    kept = start(http, "chain", b"1")
    ended(http, kept)
    assert error(http.post(f"{API}/bulk/purge", json=body))[0] == 400
    assert get(http, kept)["runtimeStatus"] == "COMPLETED"


# --- an answer that is certain ---


def test_what_one_was_told_the_next_question_shows(http):
    mine = prefix()
    for number in range(30):
        instance = start(http, "approval", b'"tea"', instanceID=f"{mine}{number:02d}")
        assert get(http, instance)["runtimeStatus"] == "RUNNING"
        assert http.post(f"{root()}/{instance}/terminate").headers["engine-outcome"] == "accepted"
        assert get(http, instance)["runtimeStatus"] == "TERMINATED"
        assert len(listed(http, prefix=mine, status="TERMINATED")) == number + 1


def test_of_many_who_start_the_same_instance_one_is_accepted(http):
    instance = new_id()
    answers: list[int] = []

    def ask() -> None:
        answer = http.post(f"{root()}/approval/start?instanceID={instance}", content=b'"tea"')
        answers.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [202] + [500] * 19


def test_whole_numbers_beyond_64_bits_are_written(http):
    instance = start(http, "approval", b"[123456789012345678901234567890]")
    events = eventually(
        lambda: http.get(f"{API}/instances/{instance}/history").json()["events"], lambda found: len(found) > 1
    )
    assert events[0]["attributes"]["input"] == [123456789012345678901234567890]
