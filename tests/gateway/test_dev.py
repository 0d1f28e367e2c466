"""`engine dev` serves HTTP beside its worker."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

from engine.cli.access import Start
from engine.cli.opening import AppOptions, LogOptions, Via, announced_url
from engine.gateway import server
from engine.gateway.waits import Until
from ops.kafka.network import free_ports
from tests.gateway.conftest import WAIT_S
from tests.gateway.test_dapr import ended, start
from tests.integration.harness import REPOSITORY, SAMPLE, _environment
from tests.metrics.running import read


def log_options(directory: Path) -> LogOptions:
    return LogOptions(
        app="", namespace="wf", bootstrap_servers="", properties={}, config="", directory=directory
    )


@contextmanager
def dev(directory: Path, *options: str):
    """What it prints up to its readiness; it is stopped in order."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "engine.cli.main", "dev", SAMPLE, *options],
        cwd=directory,
        env=_environment() | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("ready"):
                break
        yield "".join(lines)
        process.terminate()
        rest, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, rest
    finally:
        process.kill()
        process.communicate()


def test_it_answers_over_http(tmp_path: Path):
    (port,) = free_ports(1)
    with dev(tmp_path, "--http-port", "0", "--metrics-port", str(port)) as text:
        url = next(line.split()[1] for line in text.splitlines() if line.startswith("serving "))
        with httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False) as http:
            instance = start(http, "chain", b"1")
            assert ended(http, instance)["properties"]["dapr.workflow.output"] == "4"
        # One port tells of both.
        assert read(port, "engine_gateway_commands_total", outcome="accepted") == 1
        assert read(port, "dapr_runtime_workflow_execution_count", workflow_name="chain") == 1


def test_it_need_not(tmp_path: Path):
    with dev(tmp_path, "--no-http") as text:
        assert "serving" not in text


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path):
    with server._bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli.main", "dev", SAMPLE, "--http-port", port],
            cwd=tmp_path,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert done.returncode == 78
    assert f"127.0.0.1:{port}" in done.stderr


def test_where_the_usual_port_is_taken_another_is_found_by_commands(tmp_path: Path):
    # Whoever has it, this test or somebody else.
    try:
        held = server._bind(server.HOST, server.PORT)
    except server.ConfigurationError:
        held = None
    try:
        with dev(tmp_path) as text:
            assert f"port {server.PORT} is taken: HTTP is served on another" in text
            url = next(line.split()[1] for line in text.splitlines() if line.startswith("serving "))
            assert announced_url(tmp_path / ".engine") == url
            found = AppOptions(via=Via.HTTP, gateway="", token_file="", log=log_options(tmp_path / ".engine"))
            with found.open() as access:
                sent = access.start(Start(workflow="chain", payload=1, instance_id=None, start_at=None))
                assert access.wait(sent.instance_id, Until.COMPLETED, WAIT_S).output == 4
        assert announced_url(tmp_path / ".engine") == ""
    finally:
        if held is not None:
            held.close()
