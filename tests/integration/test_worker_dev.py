"""`engine dev`: the same engine without a Kafka, its data in one directory."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.embedded import EmbeddedClientLog
from engine.errors import ConfigurationError
from tests.integration.auditor import PATIENCE_SECONDS, decode
from tests.integration.harness import COMMAND_LINE, SAMPLE, WorkerProcess, run_command
from tests.integration.test_crash_recovery import FIRST_VERSION, SECOND_VERSION

CONFIGURATION_EXIT = 78


@pytest.fixture
def start_dev(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts `engine dev` with these arguments; whatever it started is gone afterwards."""
    with ExitStack() as stack:

        def start(*arguments: str) -> WorkerProcess:
            process = WorkerProcess([*COMMAND_LINE, "dev", "--log-format=json", *arguments], tmp_path)
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture
def dev(start_dev: Callable[..., WorkerProcess]) -> WorkerProcess:
    process = start_dev("--log-level=info", SAMPLE)
    process.wait_log("restored", 4)
    return process


def _publish(client: EmbeddedClientLog, command: dict[str, object]) -> None:
    client.publish(str(command["instance_id"]).encode(), json.dumps(command).encode())


def _client(directory: Path) -> EmbeddedClientLog:
    """Once there is a log to speak to."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return EmbeddedClientLog(directory / ".engine")
        except ConfigurationError:
            assert time.monotonic() < deadline


def _wait_status(directory: Path, instance_id: str, status: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done = run_command(["get", instance_id, "-o", "json"], directory)
        if done.returncode == 0 and json.loads(done.stdout)["runtime_status"] == status:
            return
        assert time.monotonic() < deadline, done.stdout + done.stderr


def _wait_outcome(client: EmbeddedClientLog, instance_id: str) -> object:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for partition in range(client.partitions("history")):
            for record in client.read_topic("history", partition, 0, 1_000):
                if record.key.startswith(f"{instance_id}|".encode()) and record.value is not None:
                    kind, body = decode(record.value)
                    if kind == "InstanceCompleted":
                        return json.loads(body["output"]["data"])
        client.wait_for_change(1_000)
    raise AssertionError(f"expected {instance_id} to complete")


def test_instances_survive_a_kill_of_the_dev_process(
    dev: WorkerProcess, start_dev: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    client = EmbeddedClientLog(tmp_path / ".engine")
    start = {"type": "StartInstance", "workflow": "chain", "input": 1}
    _publish(client, start | {"instance_id": "before"})
    assert _wait_outcome(client, "before") == 4
    _publish(client, start | {"instance_id": "waits", "workflow": "waiter"})
    dev.kill()
    _publish(client, {"type": "RaiseEvent", "instance_id": "waits", "name": "add", "data": 9})
    _publish(client, {"type": "RaiseEvent", "instance_id": "waits", "name": "add", "data": 0})

    again = start_dev(SAMPLE)
    assert _wait_outcome(client, "waits") == 9
    client.close()
    assert again.stop() < 5


def test_a_call_may_name_the_app_that_dev_was_told(
    dev: WorkerProcess, start_dev: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    client = EmbeddedClientLog(tmp_path / ".engine")
    start = {"type": "StartInstance", "workflow": "addressed"}
    _publish(client, start | {"instance_id": "dev", "input": "dev"})
    assert _wait_outcome(client, "dev") == 5
    dev.stop()

    start_dev("--app=shop", SAMPLE)
    _publish(client, start | {"instance_id": "shop", "input": "shop"})
    assert _wait_outcome(client, "shop") == 5
    client.close()


def test_a_stall_and_a_large_payload_are_told_by_the_worker_and_a_stall_by_get(
    start_dev: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    module = tmp_path / "versioned.py"
    module.write_text(FIRST_VERSION)
    first = start_dev("versioned:app")
    client = _client(tmp_path)
    start = {"type": "StartInstance", "workflow": "changed"}
    _publish(client, start | {"instance_id": "large", "input": "x" * 200_000})
    (told,) = first.wait_log("handles large payloads")
    assert (told["level"], told["instance_id"]) == ("warning", "large")
    assert "its StartInstance of 200," in told["message"]
    _publish(client, start | {"instance_id": "odd"})
    _wait_status(tmp_path, "odd", "RUNNING")
    first.stop()

    module.write_text(SECOND_VERSION)
    again = start_dev("versioned:app")
    _publish(client, {"type": "RaiseEvent", "instance_id": "odd", "name": "go", "data": None})
    client.close()
    (told,) = again.wait_log(
        "instance 'odd' is stalled: NonDeterminism: history has ActivityScheduled('old')"
    )
    assert told["instance_id"] == "odd"
    _wait_status(tmp_path, "odd", "STALLED")
    shown = run_command(["get", "odd"], tmp_path).stdout
    assert re.search(r"because +history has ActivityScheduled\('old'\) as event 2", shown)


def test_a_second_dev_process_is_refused_the_directory(dev: WorkerProcess, tmp_path: Path) -> None:
    done = run_command(["dev", SAMPLE], tmp_path)
    assert done.returncode == CONFIGURATION_EXIT
    assert f"but process {dev.pid} has it" in done.stderr


def test_a_dev_process_whose_directory_is_removed_ends_and_says_so(
    dev: WorkerProcess, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / ".engine")
    assert dev.wait() == CONFIGURATION_EXIT


def test_an_app_that_cant_be_run_leaves_no_directory_behind(tmp_path: Path) -> None:
    done = run_command(["dev", "--dir=data", "engine.runtime:WorkflowRuntime"], tmp_path)
    assert done.returncode == CONFIGURATION_EXIT
    assert "to be a WorkflowRuntime, but it is a type" in done.stderr
    assert not (tmp_path / "data").exists()
