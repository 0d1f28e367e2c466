"""Finished instances go by themselves, on Kafka and in a directory, and what is kept is kept."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from engine.client import WorkflowClient
from engine.model.retention import RetentionPolicy
from engine.node.worker import WorkerSettings
from engine.partition.context import OwnerSettings
from tests.client.running import approval, eventually, failing, on_a_directory, on_kafka

WAIT_S = 60
SETTINGS = WorkerSettings(owner=OwnerSettings(retention=RetentionPolicy(completed_ms=0, failed_ms=3_600_000)))


@pytest.fixture(params=["kafka", "embedded"])
def client(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "kafka":
        place = on_kafka(request.getfixturevalue("bootstrap_servers"), SETTINGS)
    else:
        place = on_a_directory(tmp_path / ".engine", SETTINGS)
    with place as found, found.open() as client:
        yield client


def test_what_is_not_kept_goes_with_its_history_and_its_id_is_free_again(client: WorkflowClient) -> None:
    gone, failed = uuid.uuid4().hex, client.schedule_new_workflow(failing, input="no luck")
    for number in range(2):
        client.schedule_new_workflow(approval, input=number, instance_id=gone)
        client.wait_for_workflow_start(gone, timeout_in_seconds=WAIT_S)
        client.raise_workflow_event(gone, "answer")
        eventually(lambda: client.get_workflow_state(gone), lambda state: state is None)

    state = client.wait_for_workflow_completion(failed, timeout_in_seconds=WAIT_S)
    assert state.runtime_status.name == "FAILED"
    assert list(client.read_dead_letters()) == []
