"""The two examples of Dapr's documentation, typed into a shell as they are printed there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

START = (
    "curl -X POST http://localhost:3500/v1.0-alpha1/workflows/dapr/OrderProcessingWorkflow/start"
    """?instanceID=12345678 -d '{"Name":"Paperclips","Quantity":1,"TotalCost":9.95}'"""
)
STATUS = "curl http://localhost:3500/v1.0-alpha1/workflows/dapr/12345678"


@pytest.fixture
def shell(gateway, tmp_path: Path):
    # Port 3500 may be somebody's on this machine: curl is told elsewhere where it is today.
    (tmp_path / ".curlrc").write_text(f'connect-to = "localhost:3500:127.0.0.1:{gateway.port}"\nsilent\n')
    environment = os.environ | {"CURL_HOME": str(tmp_path), "no_proxy": "*"}

    def run(line: str):
        done = subprocess.run(line, shell=True, env=environment, capture_output=True, timeout=60, check=True)
        return json.loads(done.stdout)

    return run


def test_the_examples_of_the_documentation_work_as_they_are_printed(shell):
    assert shell(START) == {"instanceID": "12345678"}
    state = shell(STATUS)
    assert list(state) == [
        "instanceID",
        "workflowName",
        "createdAt",
        "lastUpdatedAt",
        "runtimeStatus",
        "properties",
    ]
    assert state["instanceID"] == "12345678"
    assert state["workflowName"] == "OrderProcessingWorkflow"
    assert state["runtimeStatus"] == "RUNNING"
    text = '{"Name":"Paperclips","Quantity":1,"TotalCost":9.95}'
    assert state["properties"]["dapr.workflow.input"] == text
