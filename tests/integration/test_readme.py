"""What the README publishes and asks on Kafka does what it says: its own text is run, on a worker's topics.

Only the address and the app's name are put in: the tests share a Kafka, and the README's is on port 9092.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.client import WorkflowClient
from ops.kafka.distribution import Distribution
from tests.integration.harness import REPOSITORY, AppUnderTest

CONSOLE_PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PATIENCE_SECONDS = 60


def block(language: str, containing: str, subject: AppUnderTest) -> str:
    """The one block of the README that has these words, about this app."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = [each for each in blocks if containing in each]
    return (
        found.replace("localhost:9092", subject.bootstrap_servers)
        .replace("wf.orders.", f"wf.{subject.app}.")
        .replace('app="orders"', f'app="{subject.app}"')
    )


def run(command: list[str], path: str | None = None) -> str:
    environment = os.environ | ({"PATH": path} if path else {})
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def orders(subject: AppUnderTest) -> AppUnderTest:
    """The purchase order's worker is at work."""
    subject.worker(app="examples.purchase_order:app").wait_ready()
    return subject


def outcome(subject: AppUnderTest, instance_id: str) -> object:
    with WorkflowClient.kafka(bootstrap_servers=subject.bootstrap_servers, app=subject.app) as client:
        state = client.wait_for_workflow_completion(instance_id, timeout_in_seconds=PATIENCE_SECONDS)
        assert state.serialized_output is not None, state
        return json.loads(state.serialized_output)


def test_ten_lines_of_a_plain_producer_start_an_order_and_approve_it(orders: AppUnderTest) -> None:
    run([sys.executable, "-c", block("python", "from confluent_kafka import Producer", orders)])
    assert outcome(orders, "order-8") == "Approved by 'Jane'"


def test_kafkas_console_producer_starts_an_order(
    orders: AppUnderTest, kafka_distribution: Distribution, tmp_path: Path
) -> None:
    """The script of a distribution does no more than this one: it calls Java with the class."""
    script = tmp_path / "kafka-console-producer.sh"
    command = kafka_distribution.command(CONSOLE_PRODUCER, ["-Xmx256m"], [])
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    line = block("console", script.name, orders).removeprefix("$ ")
    run(["bash", "-euo", "pipefail", "-c", line], f"{tmp_path}:{os.environ['PATH']}")
    assert outcome(orders, "order-9") == "Auto-approved"


def test_a_program_starts_an_order_and_waits_for_it(orders: AppUnderTest) -> None:
    shown = run([sys.executable, "-c", block("python", "WorkflowClient.kafka", orders)])
    assert "COMPLETED" in shown
    assert "Auto-approved" in shown
