"""What a worker refuses to start with, and how it says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from engine.model.retention import RetentionPolicy
from engine.node.worker import WorkerSettings
from engine.partition.context import OwnerSettings
from engine.settings import Settings, declared
from tests.integration.conftest import StartBroker
from tests.integration.harness import REPOSITORY, SAMPLE, AppUnderTest, run_command

CONFIGURATION_EXIT = 78
NOT_APPS = {
    "tests.integration.sample": "expected an app as package.module:attribute",
    "no.such.module:app": "there is no 'no'",
    "tests.integration.nowhere:app": "there is no 'tests.integration.nowhere'",
    "tests.integration.sample:application": "it has app",
    "tests.integration.sample:chain": "but it is a function",
    "engine.runtime:WorkflowRuntime": "but it is a type",
    "empty:app": "but none is registered",
    "broken:app": "broken.py:1)",
    "needy:app": "it needs 'no_such_dependency'",
}


def test_every_part_of_a_worker_can_be_set() -> None:
    names = {setting.name for setting in declared()}
    parts = {
        *OwnerSettings.__struct_fields__,
        *WorkerSettings.__struct_fields__,
        *KafkaSettings.__struct_fields__,
        *(f"retention_{age.removesuffix('_ms')}" for age in RetentionPolicy.__struct_fields__),
    }
    # Each age of a retention policy is a setting of its own.
    assert parts - names == {"owner", "member", "is_dev", "extra", "retention"}
    servers = "localhost:9092"
    settings = Settings(
        app="a",
        bootstrap_servers=servers,
        partitions=7,
        commit_interval_ms=3,
        activity_threads_max=2,
        dev=True,
    )
    assert settings.owner() == OwnerSettings(commit_interval_ms=3)
    assert settings.worker() == WorkerSettings(
        activity_threads_max=2, owner=OwnerSettings(commit_interval_ms=3)
    )
    kafka = settings.kafka("m", {"bootstrap.servers": "elsewhere:1", "security.protocol": "SSL"})
    assert (kafka.bootstrap_servers, kafka.partitions, kafka.is_dev) == (servers, 7, True)
    assert kafka.extra == {"security.protocol": "SSL"}


@pytest.mark.parametrize(("reference", "text"), NOT_APPS.items())
def test_an_app_that_cant_be_loaded_is_named(subject: AppUnderTest, reference: str, text: str) -> None:
    (subject.directory / "empty.py").write_text("import engine as wf\napp = wf.WorkflowRuntime()\n")
    (subject.directory / "broken.py").write_text("1 / 0\n")
    (subject.directory / "needy.py").write_text("import no_such_dependency\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from engine.errors import ConfigurationError\n"
        "from engine.node.loading import load_app\n"
        "try: load_app(sys.argv[1])\n"
        "except ConfigurationError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, reference, str(REPOSITORY)]
    done = subprocess.run(command, cwd=subject.directory, capture_output=True, text=True, check=True)
    assert text in done.stdout


def test_unsafe_topics_are_refused_with_every_difference(subject: AppUnderTest) -> None:
    subject.create_topics(
        commands={"retention.ms": "3600000"},
        inbox={"message.timestamp.type": "CreateTime", "retention.ms": "-1"},
        history={"cleanup.policy": "delete", "delete.retention.ms": "1000"},
        deadletter={"retention.ms": "60000"},
    )
    worker = subject.worker(partitions=4)
    assert worker.wait() == CONFIGURATION_EXIT
    message = worker.records[-1]["message"]
    for topic, setting, expected, found in (
        ("commands", "retention.ms", "-1", "3600000"),
        ("inbox", "message.timestamp.type", "LogAppendTime", "CreateTime"),
        ("inbox", "partitions", "4", "2"),
        ("history", "cleanup.policy", "compact", "delete"),
        ("history", "delete.retention.ms", "604800000", "1000"),
        ("history", "partitions", "4", "2"),
        ("deadletter", "retention.ms", "2592000000", "60000"),
    ):
        assert f"wf.{subject.app}.{topic}: expected {setting}={expected}, but it is {found}" in message


def test_a_supervisor_ends_with_the_configuration_error_of_a_child(subject: AppUnderTest) -> None:
    worker = subject.worker(app="no_such_module:app", processes=2)
    assert worker.wait() == CONFIGURATION_EXIT
    assert any("there is no 'no_such_module'" in record["message"] for record in worker.records)
    assert len([record for record in worker.records if record["message"] == "worker process started"]) <= 2


def test_a_single_broker_needs_to_be_called_one(subject: AppUnderTest) -> None:
    arguments = [each for each in subject.options() if each != "--dev"]
    done = run_command([*arguments, SAMPLE], subject.directory)
    assert done.returncode == CONFIGURATION_EXIT
    assert "--dev for a single broker" in done.stderr


def test_other_partitions_than_the_topics_have_are_answered_with_the_right_number(
    subject: AppUnderTest,
) -> None:
    settings = KafkaSettings(
        bootstrap_servers=subject.bootstrap_servers, app=subject.app, is_dev=True, partitions=2
    )
    TopicAdmin(settings).apply()
    worker = subject.worker(partitions=4)
    assert worker.wait() == CONFIGURATION_EXIT
    message = worker.records[-1]["message"]
    assert message.splitlines()[-1] == "use --partitions 2 (or ENGINE_PARTITIONS), as the topics were made"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (
            "--commit-interval-ms=-1",
            "expected commit_interval_ms to be between 0 and 10,000 ms, but it is -1",
        ),
        ("--heartbeat-interval-ms=9000", "at most a third of session_timeout_ms"),
        ("--processes=0", "expected processes to be between 1 and 256"),
        ("--config=no-such-file", "there is none at 'no-such-file'"),
    ],
)
def test_a_setting_out_of_its_bounds_is_named(subject: AppUnderTest, option: str, text: str) -> None:
    done = run_command(["worker", "--app=x", option, SAMPLE], subject.directory)
    assert done.returncode == CONFIGURATION_EXIT
    assert text in done.stderr
    assert not (subject.directory / ".engine").exists()


def test_a_session_shorter_than_the_brokers_allow_is_refused_with_what_they_do(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = start_broker({"group.min.session.timeout.ms": "6000"})
    subject = AppUnderTest(broker.bootstrap_servers, tmp_path)
    try:
        worker = subject.worker(session_timeout_ms=2_000)
        assert worker.wait() == CONFIGURATION_EXIT
        message = worker.records[-1]["message"]
        assert "session timeout of 2,000 ms" in message
        assert "set --session-timeout-ms" in message
        assert "6,000 to 1,800,000" in message
    finally:
        subject.close()


def test_a_call_may_name_the_workers_own_app(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    (instance_id,) = subject.start("addressed", subject.app)
    assert subject.auditor().read_outcomes([instance_id]) == {instance_id: 5}
    worker.stop()
