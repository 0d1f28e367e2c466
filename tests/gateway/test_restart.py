"""A gateway that ends, in order or not, loses nothing: neither commands nor what it shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from engine.client import WorkflowClient
from engine.client.opening import open_embedded
from engine.embedded import EmbeddedLog
from engine.gateway import service
from engine.projection.fold import Folder
from ops.kafka.network import free_ports
from tests.client.running import PARTITIONS, Place, eventually, on_a_directory
from tests.gateway.conftest import WAIT_S, asking, impatient, serving
from tests.gateway.test_dapr import error, new_id, root
from tests.metrics.running import read, wait_metric

LOAD = 60
RESTARTS = 2


class Process:
    """`engine gateway` on the log of a place."""

    def __init__(self, log: tuple[str, ...], state: Path, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "engine.cli.main", "gateway", *log, *options]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ENGINE_")}
        self.process = subprocess.Popen(
            [*command, "--state-dir", str(state)],
            env=clean | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line.startswith("serving http://"), self.process.communicate()
        self.url = line.split()[1].rstrip(";")
        self.errors = ""

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        _, self.errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode


def process_on(directory: Path, *options: str, **environment: str) -> Process:
    return Process(("--dir", str(directory)), directory / "read", "--http-port", "0", *options, **environment)


@contextmanager
def ended_after(process: Process):
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


@pytest.fixture
def own(tmp_path: Path):
    """A directory for one test alone."""
    directory = tmp_path / ".engine"
    with on_a_directory(directory):
        yield directory


@pytest.fixture(params=["kafka", "embedded"])
def place(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "kafka":
        yield request.getfixturevalue("kafka_place")
    else:
        with on_a_directory(tmp_path / ".engine") as place:
            yield place


def start_until_taken(url: str, instance: str, number: int) -> str:
    """As a careful caller does: the same key until there is an answer, or none to be had by it."""
    tries = 0
    while True:
        key = {"idempotency-key": f"{instance}-{tries}"}
        query = {"instanceID": instance}
        try:
            answer = httpx.post(
                f"{url}{root()}/chain/start",
                params=query,
                content=b"%d" % number,
                headers=key,
                timeout=10,
                trust_env=False,
            )
            if answer.status_code == 202 or "already exists" in answer.text:
                return instance
            # Cut off: it was sent or not, and only the instance tells.
            if httpx.get(f"{url}{root()}/{instance}", timeout=10, trust_env=False).status_code == 200:
                return instance
            tries += 1
        except httpx.TransportError:
            continue


@pytest.mark.parametrize(
    ("number", "projections"),
    [(signal.SIGTERM, 1), (signal.SIGKILL, 1), (signal.SIGKILL, 3)],
    ids=["SIGTERM", "SIGKILL", "SIGKILL-split"],
)
def test_nothing_is_lost_by_restarts_under_load(
    place: Place, tmp_path: Path, number: signal.Signals, projections: int
):
    options = (place.arguments, tmp_path / "read", "--projections", str(projections), "--http-port")
    mine = f"load-{new_id()}-"
    started: dict[int, str] = {}

    def load(url: str) -> None:
        for each in range(LOAD):
            started[each] = start_until_taken(url, f"{mine}{each}", each)

    with ended_after(Process(*options, "0")) as first:
        loading = threading.Thread(target=load, args=(first.url,))
        loading.start()
        current = first
        for turn in range(1, RESTARTS + 1):
            eventually(lambda turn=turn: len(started), lambda n, turn=turn: n >= turn * LOAD // 3, 60)
            current.end(number)
            current = Process(*options, first.url.rpartition(":")[2])
        loading.join(120)
        assert not loading.is_alive()
    with ended_after(current), httpx.Client(base_url=current.url, timeout=WAIT_S, trust_env=False) as http:
        for each, instance in started.items():
            query = {"timeout_seconds": WAIT_S - 5}
            waited = http.get(f"/api/v1/instances/{instance}/wait", params=query).json()
            assert waited["is_met"], waited
            assert waited["instance"]["output"] == each + 3
        page = http.get("/api/v1/instances", params={"limit": 1000, "prefix": mine}).json()
    with place.open() as client:
        listed = {state.instance_id: state.run_id for state in client.list_workflow_instances()}
    states = {name: run for name, run in listed.items() if name.startswith(mine)}
    assert states.keys() == set(started.values())
    assert {row["instance_id"]: row["run_id"] for row in page["instances"]} == states


def test_a_read_model_that_was_deleted_is_built_again_under_load(own: Path):
    connection = open_embedded(own)
    with serving(connection, own / "read") as gateway, asking(gateway) as http:
        ids = [http.post(f"{root()}/chain/start", content=b"1").json()["instanceID"] for _ in range(20)]
        before = http.get("/api/v1/instances?order=id").json()
    for path in (own / "read").glob("projection*"):
        path.unlink()
    with serving(connection, own / "read") as gateway, asking(gateway) as http:
        ids += [http.post(f"{root()}/chain/start", content=b"1").json()["instanceID"] for _ in range(20)]
        for instance in ids:
            assert http.get(f"/api/v1/instances/{instance}/wait").json()["is_met"]
        after = http.get("/api/v1/instances?order=id").json()
    assert {row["instance_id"] for row in after["instances"]} == set(ids)
    kept = {row["instance_id"]: (row["run_id"], row["created_at"]) for row in before["instances"]}
    assert (
        kept.items()
        <= {row["instance_id"]: (row["run_id"], row["created_at"]) for row in after["instances"]}.items()
    )
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_gateway_that_is_told_to_stop_does_so_in_order(own: Path, number: signal.Signals):
    (port,) = free_ports(1)
    with ended_after(process_on(own, "--metrics-port", str(port))) as gateway:
        instance = new_id()
        wait = f"/api/v1/instances/{instance}/wait"
        with httpx.Client(base_url=gateway.url, timeout=WAIT_S, trust_env=False) as http:
            http.post(f"{root()}/approval/start?instanceID={instance}", content=b"1")
            # Somebody listens, and somebody waits: neither holds it up.
            with http.stream("GET", f"/api/v1/instances/{instance}/events") as stream:
                lines = stream.iter_lines()
                next(lines)
                answers: list[httpx.Response] = []
                waiting = threading.Thread(target=lambda: answers.append(http.get(wait)))
                waiting.start()
                wait_metric(port, 1, "engine_gateway_waits")
                # After 4 s it would give up, and say so by its exit code.
                assert gateway.end(number) == 0
                assert "Traceback" not in gateway.errors
                waiting.join(WAIT_S)
                # It was not cut off: it says how far the instance is, so that one asks another gateway.
                assert (answers[0].status_code, answers[0].json()["is_met"]) == (200, False)
                assert all(line.startswith((":", "id:", "event:", "data:")) for line in lines if line)


def test_a_shutdown_by_http_ends_it_too(own: Path):
    with ended_after(process_on(own)) as gateway:
        assert httpx.post(f"{gateway.url}/v1.0/shutdown", trust_env=False).status_code == 204
        gateway.process.communicate(timeout=WAIT_S)
        assert gateway.process.returncode == 0


def test_the_token_is_taken_from_the_environment(own: Path):
    (port,) = free_ports(1)
    options = ("--http-host", "0.0.0.0", "--metrics-port", str(port))
    with ended_after(process_on(own, *options, DAPR_API_TOKEN="secret")) as gateway:
        url = f"http://127.0.0.1:{gateway.url.rpartition(':')[2]}/v1.0/metadata"
        assert error(httpx.get(url, trust_env=False))[0] == 401
        assert httpx.get(url, headers={"dapr-api-token": "secret"}, trust_env=False).status_code == 200
        # Who looks at metrics needs no token, for they are elsewhere and tell nothing of what is served.
        assert read(port, "engine_gateway_requests_total", route="/v1.0/metadata", status="200") == 1


def test_without_a_token_no_other_machine_is_served(own: Path):
    command = [
        sys.executable,
        "-m",
        "engine.cli.main",
        "gateway",
        "--dir",
        str(own),
        "--http-host",
        "0.0.0.0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "ENGINE_API_TOKEN" in done.stderr


# --- what takes time ---


def test_without_a_worker_the_answer_is_that_nothing_is_known_yet(tmp_path: Path):
    EmbeddedLog(tmp_path / ".engine", partitions=PARTITIONS).close()
    connection = open_embedded(tmp_path / ".engine")
    instance = new_id()
    with impatient(connection, tmp_path, command_wait_s=0.2) as gateway, asking(gateway) as http:
        started = http.post(f"{root()}/chain/start?instanceID={instance}", content=b"1")
        assert (started.status_code, started.json()) == (202, {"instanceID": instance})
        assert started.headers["engine-outcome"] == "undecided"
        assert error(http.get(f"{root()}/{instance}"))[0] == 404
    connection.close()
    with on_a_directory(tmp_path / ".engine"), WorkflowClient.embedded(tmp_path / ".engine") as client:
        assert client.wait_for_workflow_completion(instance).output == 4


def test_while_the_read_model_is_built_one_instance_is_read_from_the_log(connection, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "FRESH_WAIT_S", 0.1)
    hold = threading.Event()
    write = Folder.write

    def held(folder: Folder, positions: object) -> None:
        hold.wait(WAIT_S)
        write(folder, positions)

    monkeypatch.setattr(Folder, "write", held)
    with WorkflowClient(open_embedded(connection._directory)) as client:
        instance = client.schedule_new_workflow("chain", input=4)
        client.wait_for_workflow_completion(instance)
    with serving(connection, tmp_path) as gateway, asking(gateway) as http:
        try:
            shown = http.get(f"{root()}/{instance}").json()
            assert shown["properties"] == {"dapr.workflow.input": "4", "dapr.workflow.output": "7"}
            events = http.get(f"/api/v1/instances/{instance}/history?after=6").json()["events"]
            assert [event["event_id"] for event in events] == [7, 8]
            assert error(http.get("/v1.0/healthz"))[1] == "ERR_HEALTH_NOT_READY"
        finally:
            hold.set()
        eventually(lambda: http.get("/v1.0/healthz").status_code, (204).__eq__)
        assert json.dumps(shown) == json.dumps(http.get(f"{root()}/{instance}").json())
