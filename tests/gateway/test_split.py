"""A read model in several files answers as one does, whatever becomes of the processes that build it."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.cli.logs import configure_logging
from engine.client.opening import open_embedded
from engine.errors import ConfigurationError
from engine.gateway.server import Gateway
from engine.projection import Split
from tests.client.running import PARTITIONS, eventually, on_a_directory
from tests.gateway.conftest import WAIT_S, asking, serving
from tests.gateway.test_dapr import root
from tests.gateway.test_restart import ended_after, process_on

COUNT = 30
BUILDERS = "projection-"
LOOKS_MAX = 1_000


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """The log of one test alone."""
    with on_a_directory(tmp_path / ".engine"):
        yield tmp_path / ".engine"


@contextmanager
def split(own: Path, files: int) -> Iterator[tuple[Gateway, httpx.Client]]:
    configure = partial(configure_logging, "info", "json")
    told = Split(files=files, open_connection=partial(open_embedded, own), configure=configure)
    settings = {"split": told} if files > 1 else {}
    connection = open_embedded(own)
    try:
        with serving(connection, own / "read", **settings) as gateway, asking(gateway) as http:
            eventually(lambda: gateway.projection.progress.is_done, bool, WAIT_S)
            yield gateway, http
    finally:
        connection.close()


def start(http: httpx.Client, count: int = COUNT) -> list[str]:
    """Starts so many and waits for their ends; their ids, of all partitions."""
    ids = [http.post(f"{root()}/chain/start", content=b"1").json()["instanceID"] for _ in range(count)]
    for instance in ids:
        assert http.get(f"/api/v1/instances/{instance}/wait", params={"timeout_seconds": WAIT_S}).json()[
            "is_met"
        ]
    return ids


def listed(http: httpx.Client, order: str) -> list[dict[str, Any]]:
    """Every instance, by pages of seven."""
    rows: list[dict[str, Any]] = []
    query = {"order": order, "limit": 7}
    while True:
        page = http.get("/api/v1/instances", params=query).json()
        rows += page["instances"]
        if page["next"] is None:
            return rows
        query["after"] = page["next"]


def builders() -> list[multiprocessing.process.BaseProcess]:
    return [each for each in multiprocessing.active_children() if each.name.startswith(BUILDERS)]


def whole(own: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Any]:
    """What one file answers."""
    connection = open_embedded(own)
    with serving(connection, own / "whole") as gateway, asking(gateway) as http:
        answers = listed(http, "id"), listed(http, "newest"), http.get("/api/v1/counts").json()
    connection.close()
    return answers


@pytest.mark.parametrize("files", [2, PARTITIONS])
def test_several_files_answer_as_one_does(own: Path, files: int):
    with split(own, files) as (gateway, http):
        ids = start(http)
        by_id = listed(http, "id")
        assert [row["instance_id"] for row in by_id] == sorted(ids)
        newest = listed(http, "newest")
        assert (by_id, newest, http.get("/api/v1/counts").json()) == whole(own)
        history = http.get(f"/api/v1/instances/{ids[0]}/history").json()["events"]
        assert history[-1]["event_type"] == "InstanceCompleted"
        assert gateway.projection.events == COUNT * len(history)
        assert len(list((own / "read").glob("projection*.sqlite3"))) == files
        assert len(builders()) == files
    assert builders() == []


def test_a_builder_that_is_killed_is_started_again_and_goes_on(own: Path):
    with split(own, 2) as (gateway, http):
        ids = start(http)
        for builder in builders():
            builder.kill()
            builder.join(WAIT_S)
        ids += start(http)
        assert [row["instance_id"] for row in listed(http, "id")] == sorted(ids)
        events = len(http.get(f"/api/v1/instances/{ids[0]}/history").json()["events"])
        # It went on: nothing was taken in twice.
        assert gateway.projection.events == len(ids) * events


def test_a_file_that_was_removed_is_built_again(own: Path):
    with split(own, 2) as (gateway, http):
        ids = start(http)
        for path in (own / "read").glob("projection-0-*"):
            path.unlink()
        eventually(lambda: gateway.projection.generation, bool, WAIT_S)
        ids += start(http)
        assert [row["instance_id"] for row in listed(http, "id")] == sorted(ids)


def damage(path: Path, index: str) -> None:
    """Overwrites the first page of an index: who does not ask it has no reason to notice."""
    with closing(sqlite3.connect(path)) as database:
        ((page,),) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)
        ).fetchall()
        ((size,),) = database.execute("PRAGMA page_size").fetchall()
        # What is in the write-ahead log would be found there.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"rubbish " * (size // 8))


@pytest.mark.parametrize("files", [1, 2])
def test_a_file_that_readers_find_damaged_is_built_again(own: Path, files: int):
    """A writer that has nothing to write in a damaged page never meets it."""
    with split(own, files) as (_, http):
        ids = sorted(start(http))
    for path in (own / "read").glob("projection*.sqlite3"):
        damage(path, "by_time")
    with split(own, files) as (gateway, http):

        def names() -> list[str] | int:
            answer = http.get("/api/v1/instances")
            rows = answer.json().get("instances", [])
            return sorted(row["instance_id"] for row in rows) if answer.is_success else answer.status_code

        seen = [names()]
        while seen[-1] != ids:
            assert isinstance(seen[-1], list) or seen[-1] == httpx.codes.SERVICE_UNAVAILABLE
            assert len(seen) < LOOKS_MAX, seen
            seen.append(names())
        assert httpx.codes.SERVICE_UNAVAILABLE in seen
        assert gateway.projection.generation > 0


def test_another_number_of_files_leaves_none_of_before(own: Path):
    with split(own, 3) as (_, http):
        ids = start(http)
    with split(own, 2) as (gateway, http):
        assert [row["instance_id"] for row in listed(http, "id")] == sorted(ids)
        assert sorted((own / "read").glob("*.sqlite3")) == sorted(
            [*gateway.projection.paths, own / "read" / "idempotency.sqlite3"]
        )


def test_more_files_than_partitions_are_refused(own: Path):
    with pytest.raises(ConfigurationError, match=rf"partitions, {PARTITIONS}, but got {PARTITIONS + 1}"):
        split(own, PARTITIONS + 1).__enter__()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_no_builder_outlives_its_gateway(own: Path, number: signal.Signals):
    with ended_after(process_on(own, "--projections", "2")) as gateway:
        with httpx.Client(base_url=gateway.url, timeout=WAIT_S, trust_env=False) as http:
            start(http, 1)
        pid = gateway.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        children += [
            each
            for task in Path(f"/proc/{pid}/task").iterdir()
            for each in (task / "children").read_text(encoding="ascii").split()
        ]
        assert len(set(children)) >= 2
        gateway.end(number)
    gone = [Path(f"/proc/{child}") for child in set(children)]
    eventually(lambda: [each for each in gone if each.exists()], lambda left: not left, WAIT_S)


def test_a_directory_has_one_gateway(own: Path):
    connection = open_embedded(own)
    with (
        serving(connection, own / "read"),
        pytest.raises(ConfigurationError, match=r"only owner of a gateway's files in .*read, but process"),
    ):
        serving(connection, own / "read").__enter__()
    connection.close()
