"""The command line against a real worker on the embedded log, and on Kafka where it speaks of topics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from engine.cli.main import EXIT_CODES, cli
from engine.cli.reference import REFERENCE, commands, help_of, reference
from engine.cli.show import CUT, printable, show_dead_letter, show_dead_letters
from engine.client import DeadLetterEntry
from engine.codec.topics import topics_of
from engine.gateway.operators import VALUE_BYTES_LISTED
from engine.gateway.shapes import DeadLetter, dead_letter_of
from tests.client.running import Place, eventually

ROOT = Path(__file__).parents[2]
APPROVAL = {"item": "tea", "answer": {"yes": True}}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in list(os.environ):
        if name.startswith("ENGINE_") and not name.startswith("ENGINE_TEST_"):
            monkeypatch.delenv(name)


def new_id() -> str:
    return f"cli-{uuid.uuid4().hex[:12]}"


def run(place: Place, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [*arguments, *place.arguments], input=stdin)


def done(place: Place, *arguments: str, stdin: str | None = None) -> str:
    result = run(place, *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


# --- what it says of itself ---


@pytest.mark.parametrize(("name", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_has_help_with_an_example(name, command):
    text = help_of(command)
    _, _, example = text.partition("Example:\n")
    assert command.help, f"{name} has no help"
    assert example.strip().startswith("engine "), f"the help of {name} has no example"
    if name != "engine":
        assert name in example, f"the example of {name} is of another command"


def test_the_reference_is_what_the_commands_say():
    written = REFERENCE.read_text(encoding="utf-8")
    assert written == reference(), "write it anew: python -m engine.cli.reference"


def test_every_command_and_option_is_in_the_reference():
    text = REFERENCE.read_text(encoding="utf-8")
    for name, command in commands():
        _, _, section = text.partition(f"## `{name}`\n")
        section = section.partition("\n## ")[0]
        assert section, f"{name} is not in the reference"
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        assert [each.opts[0] for each in options if f"`{each.opts[0]}" not in section] == []


def test_what_commands_show_has_all_forms():
    shown = [command for _, command in commands() if any(each.name == "form" for each in command.params)]
    assert len(shown) >= 18
    for command in shown:
        (form,) = [each for each in command.params if each.name == "form"]
        assert list(form.type.choices) == ["table", "json", "yaml"]


def test_the_exit_codes_are_in_the_help():
    text = CliRunner().invoke(cli, ["--help"]).stdout
    assert [code for code in EXIT_CODES if f"{code}  {EXIT_CODES[code]}" not in text] == []


# --- instances ---


def test_a_workflow_is_started_and_its_id_printed(place: Place):
    instance_id = done(place, "start", "chain", "--input", "4").strip()
    assert json.loads(done(place, "wait", instance_id, "-o", "json"))["serialized_output"] == "7"
    shown = done(place, "get", instance_id)
    assert "COMPLETED" in shown
    assert "chain" in shown


def test_a_start_can_wait_for_the_outcome(place: Place):
    state = json.loads(done(place, "start", "chain", "--input", "1", "--wait", "-o", "json"))
    assert (state["runtime_status"], state["serialized_output"]) == ("COMPLETED", "4")


def test_a_failed_workflow_ends_the_wait_with_1(place: Place):
    result = run(place, "start", "failing", "--input", '"no tea"', "--wait")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "no tea" in result.stdout


def test_a_byte_order_mark_before_an_input_is_let_be(place: Place, tmp_path):
    file = tmp_path / "input.json"
    file.write_text("1", encoding="utf-8-sig")
    state = json.loads(done(place, "start", "chain", "--input", f"@{file}", "--wait", "-o", "json"))
    assert (state["serialized_input"], state["serialized_output"]) == ("1", "4")


def test_an_instance_is_suspended_told_an_event_and_resumed(place: Place, tmp_path):
    instance_id = new_id()
    done(place, "start", "approval", "--input", '"tea"', "--id", instance_id)
    done(place, "wait", instance_id, "--for", "start")
    done(place, "suspend", instance_id, "--reason", "lunch")
    answer = tmp_path / "answer.json"
    answer.write_text('{"yes": true}\n', encoding="utf-8")
    done(place, "raise", instance_id, "answer", "--data", f"@{answer}")
    eventually(
        lambda: json.loads(done(place, "history", instance_id, "-o", "json")),
        lambda events: events[-1]["event_type"] == "EventRaised",
    )
    assert json.loads(done(place, "get", instance_id, "-o", "json"))["runtime_status"] == "SUSPENDED"
    assert json.loads(done(place, "resume", instance_id, "-o", "json")) == {
        "instance_id": instance_id,
        "command": "resume",
        "outcome": "accepted" if place.name == "http" else "sent",
    }
    state = json.loads(done(place, "wait", instance_id, "-o", "json"))
    assert json.loads(state["serialized_output"]) == APPROVAL


def test_an_instance_is_terminated_and_purged(place: Place):
    instance_id = new_id()
    done(place, "start", "approval", "--input", "-", "--id", instance_id, stdin='"tea"')
    done(place, "terminate", instance_id, "--output", '"enough"')
    result = run(place, "wait", instance_id)
    assert result.exit_code == 1
    assert "TERMINATED" in result.stdout
    done(place, "purge", instance_id)
    eventually(lambda: run(place, "get", instance_id).exit_code, lambda code: code == 3)
    result = run(place, "history", instance_id)
    assert result.exit_code == 3
    assert result.stderr.startswith(
        f"Error: expected an instance '{instance_id}', but there is none on record;"
    )
    assert "engine deadletter list" in result.stderr


def test_history_is_a_readable_table(place: Place):
    instance_id = done(place, "start", "chain", "--input", "1").strip()
    done(place, "wait", instance_id)
    lines = done(place, "history", instance_id).splitlines()
    assert lines[0].split() == ["number", "time", "(UTC)", "event", "what"]
    rows = [line.split() for line in lines if line[:1].strip().isdigit() or line.lstrip()[:1].isdigit()]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 9)]
    assert rows[0][2:] == ["InstanceStarted", "chain", "input=1"]
    assert rows[1][2:] == ["ActivityScheduled", "increment", "input=1"]


def test_a_scheduled_start_is_pending_until_its_time(place: Place):
    instance_id = done(place, "start", "chain", "--input", "1", "--at", "+1h").strip()
    state = json.loads(
        eventually(lambda: run(place, "get", instance_id, "-o", "json"), lambda r: r.exit_code == 0).stdout
    )
    assert state["runtime_status"] == "PENDING"
    result = run(place, "wait", instance_id, "--timeout", "0.1")
    assert result.exit_code == 4
    assert "PENDING" in result.stderr
    done(place, "terminate", instance_id)


def test_instances_are_listed_by_prefix_and_status(place: Place):
    prefix = new_id()
    for number in range(3):
        done(place, "start", "chain", "--input", "1", "--id", f"{prefix}-{number}", "--wait")
    listed = json.loads(done(place, "list", "--prefix", prefix, "--status", "completed", "-o", "json"))
    # What a list does not tell is not said to be null.
    assert "serialized_output" not in listed[0]
    assert sorted(state["instance_id"] for state in listed) == [f"{prefix}-{n}" for n in range(3)]
    result = run(place, "list", "--prefix", prefix, "--limit", "1")
    assert result.stdout.count(prefix) == 1
    mark = result.stderr.split("--after ")[1].strip()
    second = run(place, "list", "--prefix", prefix, "--limit", "2", "--after", mark, "-o", "json")
    assert second.stderr == ""
    others = {state["instance_id"] for state in json.loads(second.stdout)}
    assert len(others) == 2
    assert not any(instance_id in result.stdout for instance_id in others)


def test_a_refused_start_is_found_among_the_dead_letters(place: Place):
    instance_id = new_id()
    done(place, "start", "approval", "--input", "1", "--id", instance_id)
    again = run(place, "start", "approval", "--input", "1", "--id", instance_id)
    if place.name == "http":
        assert (again.exit_code, again.stdout) == (1, "")
        assert "InstanceAlreadyExists" in again.stderr

    def found() -> list[dict[str, str]]:
        return [each for each in json.loads(listed()) if each["key"] == instance_id]

    def listed() -> str:
        return done(place, "deadletter", "list", "--reason", "InstanceAlreadyExists", "-o", "json")

    letter = eventually(found, lambda letters: len(letters) == 1)[0]
    assert instance_id in done(place, "deadletter", "show", letter["place"])
    assert run(place, "deadletter", "show", "0/999999999").exit_code == 3
    assert run(place, "deadletter", "show", "here").exit_code == 2
    done(place, "terminate", instance_id)


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["start", "chain", "--input", "tea"], 2, "a string needs its own quotes: --input '\"tea\"'"),
        (["start", "chain", "--input", "NaN"], 2, "expected JSON, but got 'NaN'"),
        (
            ["start", "chain", "--input", "[1e999]"],
            2,
            "(a number is out of range: a double holds up to 1.8e308;",
        ),
        (["start", "chain", "--input", "@nowhere.json"], 2, "expected a file at 'nowhere.json'"),
        (["start", "chain", "--at", "2030-01-31T09:00:00"], 2, "expected a time with its zone"),
        (["start", "chain", "--id", "~x"], 1, "expected an instance id that does not begin with '~'"),
        (["wait", "x", "--timeout", "nan"], 1, "expected timeout_in_seconds"),
        (["raise", "x", ""], 1, "expected an event name of 1 to 256 bytes"),
        (["get", "nobody"], 3, "expected an instance 'nobody'"),
        (["get", "nobody"], 3, "'engine deadletter list'"),
        (["wait", "nobody", "--timeout", "0.1"], 4, "'engine deadletter list'"),
        (["get", "\x1b[31mred"], 3, "'\\x1b[31mred'"),
        (["wait", "nobody", "--timeout", "0.1"], 4, "there is no such instance yet"),
        (["list", "--status", "HAPPY"], 2, "HAPPY"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_with_its_exit_code(directory_place, arguments, code, text):
    result = run(directory_place, *arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert "\x1b" not in result.output
    assert "Traceback" not in result.output


def test_without_a_log_it_says_how_to_get_one(tmp_path):
    by_directory = ["get", "x", "--via", "dir", "--dir"]
    result = CliRunner().invoke(cli, [*by_directory, str(tmp_path / "nowhere")])
    assert result.exit_code == 5
    assert "engine dev" in result.stderr
    result = CliRunner().invoke(cli, [*by_directory, str(tmp_path)])
    assert result.exit_code == 5
    assert result.stderr.count("\n") == 1
    result = CliRunner().invoke(cli, ["get", "x", "--via", "kafka", "--bootstrap-servers", "localhost:1"])
    assert result.exit_code == 2
    assert "--app" in result.stderr


def test_settings_come_from_the_environment_and_a_properties_file(kafka_place, tmp_path, monkeypatch):
    *_, servers, _, app = kafka_place.arguments
    monkeypatch.setenv("ENGINE_VIA", "kafka")
    file = tmp_path / "kafka.properties"
    file.write_text(f"bootstrap.servers={servers}\nsocket.timeout.ms=20000\n", encoding="utf-8")
    monkeypatch.setenv("ENGINE_APP", app)
    monkeypatch.setenv("ENGINE_CONFIG", str(file))
    result = CliRunner().invoke(cli, ["start", "chain", "--input", "1", "--wait"])
    assert result.exit_code == 0, result.output
    file.write_text("acks=1\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["get", "x"])
    assert result.exit_code == 5
    assert "acks" in result.stderr


# --- dead letters ---


def letter_of(key: bytes, value: bytes, detail: str = "", *, is_listed: bool = True) -> DeadLetter:
    letter = DeadLetterEntry(
        partition=0,
        offset=7,
        refused_at_ms=0,
        reason="Malformed",
        detail=detail,
        source="commands/0/1",
        key=key,
        value=value,
    )
    return dead_letter_of(letter, VALUE_BYTES_LISTED if is_listed else None)


def test_the_table_of_dead_letters_cuts_and_escapes_what_is_long_or_acts_on_a_terminal(capsys):
    show_dead_letters([letter_of(b"\x1b[2J" + b"k" * 10_000, b"v" * 10_000, "d\n" * 10_000)], "table")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\u001b[2Jkkk" in shown
    assert len(shown.splitlines()) == 3
    assert (shown.count("k"), shown.count("d\\u000a")) < (80, 200)
    assert shown.count(CUT) == 2


def test_a_list_of_dead_letters_as_json_has_text_and_only_the_beginning_of_a_value(capsys):
    value = ("a" + "é" * 1_000).encode()
    show_dead_letters([letter_of(b"order-7", value), letter_of(b"\xff", b"\xff" * 1_000)], "json")
    text, binary = json.loads(capsys.readouterr().out)
    assert (text["key"], text["key_hex"], text["value_hex"]) == ("order-7", None, None)
    assert text["value"] == "a" + "é" * 127
    assert text["value_bytes"] == len(value)
    assert (binary["key"], binary["key_hex"], binary["value"]) == (None, "ff", None)
    assert binary["value_hex"] == "ff" * 256
    show_dead_letter(letter_of(b"order-7", value, is_listed=False), "json")
    assert json.loads(capsys.readouterr().out)["value"] == value.decode()


# --- topics ---


def test_topics_are_created_once_and_checked(bootstrap_servers):
    app = new_id()
    where = ["--app", app, "--bootstrap-servers", bootstrap_servers]
    missing = CliRunner().invoke(cli, ["get", "x", "--via", "kafka", *where])
    assert missing.exit_code == 5
    assert f"engine topics apply --app {app}" in missing.stderr
    apply = ["topics", "apply", *where, "--dev", "--partitions", "2", "-o", "json"]
    created = CliRunner().invoke(cli, apply)
    assert created.exit_code == 0, created.output
    assert topics_of("wf", app).history in json.loads(created.stdout)["created"]
    assert json.loads(CliRunner().invoke(cli, apply).stdout) == {"created": []}
    check = ["topics", "check", *where, "--dev"]
    result = CliRunner().invoke(cli, [*check, "--partitions", "2"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(cli, [*check, "--partitions", "5", "-o", "json"])
    assert result.exit_code == 5
    assert {(each["setting"], each["found"]) for each in json.loads(result.stdout)} == {("partitions", "2")}


# --- as a process ---


def engine(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *python, "-m", "engine.cli.main", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def test_another_process_starts_a_workflow_and_sees_its_outcome(place: Place):
    result = engine("start", "chain", "--input", "1", "--wait", "-o", "json", *place.arguments)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["serialized_output"] == "4"
    assert result.stderr == ""


def test_it_refuses_to_run_without_assertions():
    result = engine("--help", python=("-O",))
    assert result.returncode == 5
    assert "assertions" in result.stderr


def test_an_unreachable_kafka_is_one_line_and_5(tmp_path):
    file = tmp_path / "fast.properties"
    file.write_text("socket.connection.setup.timeout.ms=1000\n", encoding="utf-8")
    result = engine(
        "get",
        "x",
        *("--via", "kafka", "--app", "a", "--bootstrap-servers", "127.0.0.1:1", "--config", str(file)),
    )
    assert result.returncode == 5
    assert result.stderr.count("\n") == 1
    assert "reach Kafka at 127.0.0.1:1" in result.stderr
    assert "is it running" in result.stderr
    assert "--bootstrap-servers or ENGINE_BOOTSTRAP_SERVERS" in result.stderr


def test_lines_of_librdkafka_are_not_printed_by_a_command():
    # In a process of its own: pytest's handlers would hide the one that Python has for records without any.
    code = (
        "import logging, engine.cli.main; logging.getLogger('engine.librdkafka').error('connection refused')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "option", "variable"),
    [
        (["worker", "shop:app", "--bootstrap-servers", "localhost:1"], "--app", "ENGINE_APP"),
        (["worker", "shop:app", "--app", "a"], "--bootstrap-servers", "ENGINE_BOOTSTRAP_SERVERS"),
        (["topics", "check", "--app", "a"], "--bootstrap-servers", "ENGINE_BOOTSTRAP_SERVERS"),
        (["topics", "apply", "--bootstrap-servers", "localhost:1"], "--app", "ENGINE_APP"),
    ],
)
def test_what_kafka_needs_is_asked_for_by_option_and_variable(arguments, option, variable):
    result = engine(*arguments)
    assert result.returncode == 2
    assert f"expected {option} (or {variable})" in result.stderr


def test_what_could_steer_a_terminal_is_escaped():
    assert printable("a\x1b[2Jb\n\x9b\u202ec") == "a\\u001b[2Jb\\u000a\\u009b\\u202ec"
