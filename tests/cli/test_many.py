"""What is done to many at once, and dead letters that are replayed: over HTTP, and by the log itself."""

from __future__ import annotations

import json
import uuid

import pytest

from engine.cli.access import Round
from engine.cli.progress import paced
from tests.cli.test_cli import done, new_id, run
from tests.client.running import Place, eventually


@pytest.fixture(params=["http", "directory"])
def near(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(f"{request.param}_place")


def new_prefix() -> str:
    return f"many-{uuid.uuid4().hex[:8]}-"


def as_json(place: Place, *arguments: str):
    return json.loads(done(place, *arguments, "-o", "json"))


def statuses(place: Place, prefix: str) -> list[str]:
    return [each["runtime_status"] for each in as_json(place, "list", "--prefix", prefix)]


# --- instances ---


def test_many_are_looked_at_then_terminated_then_purged(near: Place):
    prefix = new_prefix()
    ids = [f"{prefix}{number}" for number in range(3)]
    for instance_id in ids:
        done(near, "start", "approval", "--input", "1", "--id", instance_id)
        done(near, "wait", instance_id, "--for", "start")
    looked = as_json(near, "bulk", "terminate", "--prefix", prefix, "--dry-run")
    assert looked == {"command": "terminate", "dry_run": True, "matched": 3, "names": ids}
    assert statuses(near, prefix) == ["RUNNING"] * 3
    ended = as_json(near, "bulk", "terminate", "--prefix", prefix, "--status", "running", "--yes")
    assert (ended["matched"], ended["done"], ended["refused"]) == (3, 3, 0)
    eventually(lambda: statuses(near, prefix), (["TERMINATED"] * 3).__eq__)
    assert as_json(near, "bulk", "terminate", "--prefix", prefix, "--yes")["matched"] == 0
    assert "purge: 3 of 3 instances" in done(near, "bulk", "purge", "--prefix", prefix, "--yes")
    eventually(lambda: statuses(near, prefix), [].__eq__)


def test_in_rounds_each_instance_is_met_once(http_place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.cli.http_access.ROUND_INSTANCES", 2)
    monkeypatch.setattr("engine.cli.http_access.DRY_ROUND_INSTANCES", 2)
    prefix = new_prefix()
    for number in range(5):
        done(http_place, "start", "approval", "--input", "1", "--id", f"{prefix}{number}")
    ended = as_json(http_place, "bulk", "terminate", "--prefix", prefix, "--yes")
    assert (ended["matched"], ended["done"]) == (5, 5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bulk", "purge"], "expected a filter that says which instances to purge, or --all"),
        (["deadletter", "replay"], "expected places, --reason, --prefix or --all"),
        (["deadletter", "replay", "here"], "expected PARTITION/OFFSET such as 0/17"),
    ],
)
def test_that_all_are_meant_must_be_said(directory_place: Place, arguments, text):
    result = run(directory_place, *arguments, "--yes")
    assert result.exit_code == 2
    assert text in result.stderr


def test_nothing_is_done_unasked_and_a_no_is_a_no(directory_place: Place, monkeypatch: pytest.MonkeyPatch):
    prefix = new_prefix()
    done(directory_place, "start", "approval", "--input", "1", "--id", f"{prefix}0")
    done(directory_place, "wait", f"{prefix}0", "--for", "start")
    result = run(directory_place, "bulk", "terminate", "--prefix", prefix)
    assert result.exit_code == 2
    assert "expected --yes to terminate 1 instances unasked" in result.stderr
    monkeypatch.setattr("engine.cli.bulk.is_terminal", lambda: True)
    result = run(directory_place, "bulk", "terminate", "--prefix", prefix, stdin="n\n")
    assert result.exit_code == 1
    assert statuses(directory_place, prefix) == ["RUNNING"]
    result = run(directory_place, "bulk", "terminate", "--prefix", prefix, stdin="y\n")
    assert result.exit_code == 0


# --- lists ---


def test_a_list_is_of_what_all_filters_mean(near: Place):
    prefix = new_prefix()
    for number in range(2):
        done(near, "start", "chain", "--input", "1", "--id", f"{prefix}{number}", "--wait")

    def listed(*filters: str) -> list[str]:
        found = as_json(near, "list", "--prefix", prefix, *filters)
        return sorted(each["instance_id"] for each in found)

    both = [f"{prefix}0", f"{prefix}1"]
    assert listed("--name", "chain", "--since", "-1h", "--until", "+1h") == both
    assert listed("--name", "approval") == []
    assert listed("--since", "+1h") == []
    assert listed("--until", "-1h") == []
    assert listed("--parent", "nobody") == []


def test_partitions_are_shown_with_their_owner_and_what_lives(near: Place):
    prefix = new_prefix()
    done(near, "start", "approval", "--input", "1", "--id", f"{prefix}0")
    done(near, "wait", f"{prefix}0", "--for", "start")
    found = as_json(near, "partitions")
    assert [each["partition"] for each in found] == [0, 1, 2]
    assert all(each["owner"].startswith("process ") and each["epoch"] >= 1 for each in found)
    assert sum(each["live_instances"] for each in found) >= 1
    done(near, "terminate", f"{prefix}0")


def test_on_kafka_partitions_have_the_group_s_member_for_an_owner(kafka_place: Place):
    found = as_json(kafka_place, "partitions")
    assert [each["partition"] for each in found] == [0, 1, 2]
    assert {each["owner"].split()[0] for each in found} == {"member-0"}
    assert all(each["epoch"] >= 1 for each in found)


# --- dead letters ---


def letters(place: Place, key: str) -> list[dict[str, object]]:
    return as_json(place, "deadletter", "list", "--prefix", key)


def test_a_refused_start_is_replayed_once_and_takes_effect(near: Place):
    instance_id = new_id()
    for _ in range(2):
        run(near, "start", "approval", "--input", '"tea"', "--id", instance_id)
    place = eventually(lambda: letters(near, instance_id), lambda found: len(found) == 1)[0]["place"]
    done(near, "terminate", instance_id)
    run(near, "wait", instance_id)
    looked = as_json(near, "deadletter", "replay", "--prefix", instance_id, "--dry-run")
    assert (looked["matched"], looked["names"]) == (1, [place])
    replayed = as_json(near, "deadletter", "replay", "--prefix", instance_id, "--yes")
    assert (replayed["matched"], replayed["done"]) == (1, 1)
    eventually(lambda: statuses(near, instance_id), ["RUNNING"].__eq__)
    assert [letter["is_replayed"] for letter in letters(near, instance_id)] == [True]
    again = as_json(near, "deadletter", "replay", place, "--yes")
    assert again["matched"] == 0
    done(near, "terminate", instance_id)


def test_a_round_of_replays_takes_the_time_that_the_rate_says(monkeypatch: pytest.MonkeyPatch):
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr("engine.cli.progress.time", clock)
    assert len(list(paced((Round(names="ab", done=2) for _ in range(3)), rate=4.0))) == 3
    assert clock.now == 101.5
