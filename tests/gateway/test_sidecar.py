"""What SDKs ask a sidecar before anything else."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.client.running import eventually
from tests.gateway.conftest import APP, asking, serving
from tests.gateway.test_dapr import error
from tests.projection.made_log import MadeLog


@pytest.mark.parametrize("path", ["/v1.0/healthz", "/v1.0/healthz/outbound", f"/v1.0/healthz?appid={APP}"])
def test_a_gateway_that_works_is_healthy(http, path):
    answer = eventually(lambda: http.get(path), lambda answer: answer.status_code == 204)
    assert answer.content == b""


def test_another_app_is_not_healthy_here(http):
    assert error(http.get("/v1.0/healthz?appid=other")) == (
        500,
        "ERR_HEALTH_APPID_NOT_MATCH",
        "dapr app-id does not match",
    )


def test_a_gateway_whose_log_does_not_answer_is_not_healthy(tmp_path: Path):
    log = MadeLog()
    log.is_down = True
    with serving(log, tmp_path) as gateway, asking(gateway) as http:
        assert error(http.get("/v1.0/healthz"))[:2] == (500, "ERR_HEALTH_NOT_READY")
        assert error(http.get("/v1.0/healthz/outbound"))[:2] == (500, "ERR_OUTBOUND_HEALTH_NOT_READY")
        log.is_down = False
        eventually(lambda: http.get("/v1.0/healthz").status_code, (204).__eq__)
        eventually(lambda: http.get("/v1.0/healthz/outbound").status_code, (204).__eq__)


def test_metadata_is_dapr_s_and_can_be_added_to(http):
    before = http.get("/v1.0/metadata").json()
    assert before["id"] == APP
    assert before["actorRuntime"]["hostReady"] is True
    assert {"runtimeVersion", "enabledFeatures", "actors", "components", "extended"} <= before.keys()
    assert {"subscriptions", "httpEndpoints", "appConnectionProperties", "scheduler"} <= before.keys()
    assert before["workflows"] == {"connectedWorkers": 0}
    assert http.put("/v1.0/metadata/cliPID", content=b"12").status_code == 204
    assert http.get("/v1.0/metadata").json()["extended"]["cliPID"] == "12"


def test_a_shutdown_is_passed_on(connection, tmp_path: Path):
    from engine.gateway.server import Gateway, GatewaySettings

    asked = threading.Event()
    gateway = Gateway(connection, GatewaySettings(app_id=APP, directory=tmp_path, port=0), asked.set)
    gateway.start()
    with asking(gateway) as http:
        assert http.post("/v1.0/shutdown").status_code == 204
    assert asked.wait(20)
    gateway.close()


def test_dapr_s_own_client_finds_a_healthy_sidecar(gateway):
    # In a process of its own: its address is read from the environment when it is imported.
    code = "from dapr.clients import DaprClient; DaprClient().close(); print('healthy')"
    environment = {
        "DAPR_HTTP_PORT": str(gateway.port),
        "DAPR_RUNTIME_HOST": "127.0.0.1",
        "DAPR_HEALTH_TIMEOUT": "30",
        "PATH": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=100, check=False
    )
    assert done.stdout.strip() == b"healthy", done.stderr.decode()
