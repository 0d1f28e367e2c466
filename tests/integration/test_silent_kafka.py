"""A Kafka that takes connections and never answers: who waits for it can be stopped all the same."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 60
LONGER_MS = 600_000


@pytest.mark.parametrize(
    "words",
    [
        ("worker", "--dev", "--request-timeout-ms", str(LONGER_MS), "examples.purchase_order:app"),
        ("gateway", "--http-port", "0"),
    ],
)
def test_who_waits_for_a_silent_kafka_stops_when_asked_to(words: tuple[str, ...], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command, *others = words
        engine = (sys.executable, "-m", "engine.cli.main", command, "--app", "silent")
        where = ("--bootstrap-servers", address, "--state-dir", str(tmp_path))
        process = subprocess.Popen([*engine, *where, *others])
        try:
            # It has a connection, and waits for an answer.
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
