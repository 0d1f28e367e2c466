"""Dapr's workflow API, row by row: status, body, headers."""

from __future__ import annotations

import uuid

import pytest

VERSIONS = ("v1.0", "v1.0-beta1", "v1.0-alpha1")


def new_id() -> str:
    return f"dapr-{uuid.uuid4().hex[:12]}"


def root(version: str = "v1.0") -> str:
    return f"/{version}/workflows/dapr"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_workflow_is_started_and_shown(http, version):
    instance = new_id()
    started = http.post(f"{root(version)}/chain/start", params={"instanceID": instance}, content=b"4")
    assert (started.status_code, started.json()) == (202, {"instanceID": instance})
    assert started.headers["content-type"] == "application/json"
    assert started.headers["engine-outcome"] == "accepted"
    shown = http.get(f"{root(version)}/{instance}")
    assert shown.status_code == 200
    assert shown.json()["instanceID"] == instance
