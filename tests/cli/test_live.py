"""What is shown as it changes: in lines and in place, from streams of a gateway and from the log."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from engine.cli import live
from engine.cli.access import Page, Start
from engine.cli.opening import AppOptions, LogOptions, Via
from engine.client import WorkflowState, WorkflowStatus, requests
from engine.client.reading import Filter
from tests.cli.test_cli import done, new_id, run
from tests.client.running import Place


@pytest.fixture(params=["http", "directory"])
def near(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(f"{request.param}_place")


def options_of(place: Place) -> AppOptions:
    """As the command line makes them."""
    directory = place.arguments[-1] if place.name == "embedded" else ".engine"
    log = LogOptions(
        app="", namespace="wf", bootstrap_servers="", properties={}, config="", directory=Path(directory)
    )
    if place.name == "http":
        return AppOptions(via=Via.HTTP, gateway=place.arguments[1], token_file="", log=log)
    return AppOptions(via=Via.DIRECTORY, gateway="", token_file="", log=log)


def approved(place: Place) -> str:
    instance_id = new_id()
    done(place, "start", "approval", "--input", '"tea"', "--id", instance_id)
    done(place, "raise", instance_id, "answer", "--data", "1")
    done(place, "wait", instance_id)
    return instance_id


def test_events_are_followed_from_the_first_to_the_outcome(near: Place):
    instance_id = new_id()
    done(near, "start", "approval", "--input", '"tea"', "--id", instance_id)
    done(near, "wait", instance_id, "--for", "start")
    with options_of(near).open() as access:
        told = []
        for event in access.follow(instance_id):
            told.append((event.event_id, event.event_type))
            if event.event_type == "CustomStatusSet":
                access.send(requests.raise_event(instance_id, "answer", 1))
            if event.event_type == "InstanceCompleted":
                break
    assert told == [
        (1, "InstanceStarted"),
        (2, "CustomStatusSet"),
        (3, "EventRaised"),
        (4, "InstanceCompleted"),
    ]


def test_what_continues_as_new_is_followed_from_run_to_run(near: Place):
    with options_of(near).open() as access:
        start = Start(workflow="countdown", payload=3, instance_id=None, start_at=None)
        sent = access.start(start)
        runs = set()
        for event in access.follow(sent.instance_id):
            runs.add(event.run_id)
            if event.event_type == "InstanceCompleted":
                break
        assert event.attributes["output"] == "lift off"
        assert 1 <= len(runs) <= 4


def test_an_end_is_the_end_of_following_and_its_exit_code(near: Place):
    instance_id = approved(near)
    lines = done(near, "get", instance_id, "--follow").splitlines()
    assert [line.split()[2] for line in lines] == [
        "InstanceStarted",
        "CustomStatusSet",
        "EventRaised",
        "InstanceCompleted",
    ]
    events = [
        json.loads(line) for line in done(near, "get", instance_id, "--follow", "-o", "json").splitlines()
    ]
    assert [event["event_id"] for event in events] == [1, 2, 3, 4]
    documents = done(near, "get", instance_id, "--follow", "-o", "yaml")
    assert documents.count("---\n") == 4
    done(near, "start", "failing", "--input", '"x"', "--id", f"{instance_id}-f")
    done(near, "wait", f"{instance_id}-f", "--for", "start")
    assert run(near, "get", f"{instance_id}-f", "--follow").exit_code == 1
    assert run(near, "get", "nobody", "--follow").exit_code == 3


def test_a_change_of_an_instance_is_heard_of(near: Place):
    with options_of(near).open() as access:
        changes = access.changes()
        next(changes)
        access.start(Start(workflow="chain", payload=1, instance_id=None, start_at=None))
        next(changes)


# --- how it looks, without any app ---


def state(instance_id: str, status: WorkflowStatus) -> WorkflowState:
    at = datetime(2030, 1, 31, 9)  # noqa: DTZ001
    return WorkflowState(
        instance_id=instance_id,
        run_id="r",
        name="order",
        runtime_status=status,
        created_at=at,
        last_updated_at=at,
    )


class ListsOneAfterTheOther:
    """An app whose list is another at each look; the one who looks is interrupted in the end."""

    def __init__(self, *lists: list[WorkflowState]) -> None:
        self.lists = list(lists)
        self.looked = threading.Semaphore(0)

    def instances(self, wanted: Filter, limit: int, after: str | None) -> Page:
        self.looked.release()
        return Page(states=self.lists.pop(0), next=None)

    def changes(self) -> Iterator[None]:
        for _ in list(self.lists):
            yield None
            self.looked.acquire()
        raise KeyboardInterrupt


RUNNING = state("order-1", WorkflowStatus.RUNNING)
COMPLETED = state("order-1", WorkflowStatus.COMPLETED)
NEW = state("order-2", WorkflowStatus.PENDING)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "REFRESH_S", 0)


def test_in_a_pipe_a_line_comes_for_what_is_new_or_has_another_status(capsys):
    lists = ListsOneAfterTheOther([RUNNING], [RUNNING], [NEW, COMPLETED])
    live.watch_instances(lists, Filter(), 100, "table")
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["order-1", "order", "RUNNING"],
        ["order-1", "order", "COMPLETED"],
        ["order-2", "order", "PENDING"],
    ]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal, for all that what is shown can tell."""
    text = io.StringIO()
    monkeypatch.setattr(
        live, "console", lambda: Console(file=text, force_terminal=True, width=120, height=30)
    )
    monkeypatch.setattr(live, "is_terminal", lambda: True)
    return text


def test_on_a_terminal_the_list_is_shown_in_its_place(screen: io.StringIO):
    live.watch_instances(ListsOneAfterTheOther([RUNNING], [NEW, COMPLETED]), Filter(), 100, "table")
    assert "1 COMPLETED, 1 PENDING, as of" in screen.getvalue()


def test_on_a_terminal_what_is_followed_ends_with_its_outcome(screen: io.StringIO, http_place: Place):
    instance_id = approved(http_place)
    with options_of(http_place).open() as access:
        found = access.find(instance_id)
        assert found is not None
        assert live.follow_instance(access, found, "table") is WorkflowStatus.COMPLETED
    shown = screen.getvalue()
    assert "InstanceCompleted" in shown
    assert '{"item":"tea","answer":1}' in shown.replace(" ", "")
