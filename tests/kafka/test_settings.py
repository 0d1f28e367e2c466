"""What a Kafka client may be told by its user, what not, and how bad files and values are answered."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from engine.client import WorkflowClient
from engine.errors import ConfigurationError
from engine.kafka.clients import Vitals, _telling
from engine.kafka.reader import reading
from engine.kafka.settings import RESERVED, KafkaSettings, load_properties, open_admin
from engine.settings import declared
from tests.integration.harness import SAMPLE, run_command

ROOT = Path(__file__).parents[2]
CONFIGURATION_EXIT = 78
NOBODY = "127.0.0.1:1"
UNUSED = KafkaSettings(bootstrap_servers=NOBODY, app="a")
OPENING = ("settings.client", "CLIENTS.consumer", "CLIENTS.producer")
OPTIONS = {"session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms", "transaction.timeout.ms"}


def settings_of_ours() -> set[str]:
    """What the engine tells its clients, wherever it does."""
    names: set[str] = set()
    for path in sorted((ROOT / "engine").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(OPENING):
                names |= {keyword.arg or "" for keyword in node.keywords}
    names |= reading("a group", committed=True).keys() | _telling(Vitals("consumer", UNUSED, "inbox")).keys()
    return {name.replace("_", ".") for name in names - {"", "error_cb", "on_commit", "stats_cb"}}


def test_nothing_that_the_engine_sets_is_overruled_in_silence() -> None:
    ours = settings_of_ours()
    assert {"isolation.level", "acks", "transactional.id", "linger.ms"} <= ours
    assert ours - RESERVED.keys() == set()


@pytest.mark.parametrize(
    "name",
    [
        "isolation.level",
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.auto.commit",
        "transactional.id",
        "group.id",
        "delivery.timeout.ms",
        "message.timeout.ms",
        "message.max.bytes",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "retries",
        "message.send.max.retries",
        "linger.ms",
        "queue.buffering.max.ms",
        *sorted(OPTIONS),
    ],
)
def test_a_file_that_sets_what_the_engine_relies_on_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text(f"client.rack=a\n{name}=1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load_properties(str(file))
    assert f"but got {name} (" in str(raised.value)
    assert str(file) in str(raised.value)
    with pytest.raises(ConfigurationError, match=name):
        WorkflowClient.kafka(bootstrap_servers=NOBODY, app="a", config={name: "1"})


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_what_has_an_option_of_its_own_is_answered_with_that(name: str) -> None:
    (setting,) = [each for each in declared() if each.name.replace("_", ".") == name]
    assert RESERVED[name] == f"use {setting.option} or {setting.variable}"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"client.id=caf\xe9\n", "to be a text file in UTF-8"),
        (b"client.id\n", "expected name=value in line 1"),
    ],
)
def test_a_file_that_cant_be_read_is_named(data: bytes, text: str, tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_bytes(data)
    with pytest.raises(ConfigurationError, match=text) as raised:
        load_properties(str(file))
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"no.such.thing": "1"}, 'No such configuration property: "no.such.thing"'),
        ({"fetch.min.bytes": "many"}, '"fetch.min.bytes"'),
        ({"error_cb": "1"}, "error_cb"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"}, "ssl.ca.location"),
    ],
)
def test_what_librdkafka_refuses_is_the_configurations_fault(extra: dict[str, str], text: str) -> None:
    settings = KafkaSettings(bootstrap_servers=NOBODY, app="a", extra=extra, config="my.properties")
    with pytest.raises(ConfigurationError) as raised:
        open_admin(settings)
    assert "the properties file my.properties" in str(raised.value)
    assert text in str(raised.value)
    with pytest.raises(ConfigurationError, match="the Kafka client's settings"):
        WorkflowClient.kafka(bootstrap_servers=NOBODY, app="a", config=extra)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_with_an_unknown_property_ends_and_says_so(tmp_path: Path, processes: int) -> None:
    (tmp_path / "kafka.properties").write_text("no.such.thing=1\n", encoding="utf-8")
    options = ["--app=a", f"--bootstrap-servers={NOBODY}", "--config=kafka.properties"]
    done = run_command(["worker", *options, f"--processes={processes}", SAMPLE], tmp_path)
    assert done.returncode == CONFIGURATION_EXIT
    assert "no.such.thing" in done.stderr
    assert "kafka.properties" in done.stderr


def test_options_that_dont_fit_each_other_end_the_worker(bootstrap_servers: str, tmp_path: Path) -> None:
    options = ["--dev", "--app=misfit", f"--bootstrap-servers={bootstrap_servers}", "--partitions=1"]
    done = run_command(
        ["worker", *options, "--max-poll-interval-ms=1000", "--session-timeout-ms=6000", SAMPLE], tmp_path
    )
    assert done.returncode == CONFIGURATION_EXIT
    assert "max.poll.interval.ms" in done.stderr
