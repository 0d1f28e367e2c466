"""How an app is found and reached: addresses, tokens, who else may answer; and what a shell completes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli.main import cli
from engine.cli.opening import ADDRESS_FILE, announcing
from engine.cli.show import json_text, yaml_text
from engine.client.opening import open_embedded
from engine.embedded.log import EmbeddedLog
from tests.cli.test_cli import no_settings_from_outside
from tests.client.running import Place
from tests.gateway.conftest import APP, serving

__all__ = ["no_settings_from_outside"]

TOKEN = "open sesame"
NOWHERE = "http://127.0.0.1:1"


def asked(*arguments: str, **environment: str):
    return CliRunner().invoke(cli, ["get", "nobody", *arguments], env=environment)


@pytest.fixture(scope="module")
def guarded(directory_log: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that asks for a token."""
    connection = open_embedded(directory_log.arguments[1])
    with serving(connection, Path(tmp_path_factory.mktemp("read")), token=TOKEN) as gateway:
        yield gateway.url
    connection.close()


def test_where_there_is_no_gateway_the_address_and_the_remedies_are_named():
    result = asked("--gateway", NOWHERE)
    assert result.exit_code == 5
    assert result.stderr.count("\n") == 1
    assert f"expected a gateway at {NOWHERE}, but nothing answers there" in result.stderr
    for remedy in ("engine gateway", "engine dev", "--gateway", "--via kafka", "--via dir"):
        assert remedy in result.stderr


@pytest.mark.parametrize("url", ["localhost:3500", "ftp://x", "http://", "http://x?y=1"])
def test_what_is_no_address_is_refused(url):
    result = asked("--gateway", url)
    assert result.exit_code == 5
    assert "expected a gateway's address such as http://127.0.0.1:3500" in result.stderr


def test_a_token_comes_from_the_environment_or_a_file(guarded: str, tmp_path: Path):
    result = asked("--gateway", guarded)
    assert result.exit_code == 5
    assert "ENGINE_API_TOKEN" in result.stderr
    assert asked("--gateway", guarded, ENGINE_API_TOKEN=TOKEN).exit_code == 3
    assert asked("--gateway", guarded, DAPR_API_TOKEN=TOKEN).exit_code == 3
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    assert asked("--gateway", guarded, "--token-file", str(file)).exit_code == 3
    file.write_text("", encoding="ascii")
    result = asked("--gateway", guarded, "--token-file", str(file))
    assert result.exit_code == 5
    assert "it is empty" in result.stderr
    assert asked("--gateway", guarded, "--token-file", str(tmp_path / "none")).exit_code == 5


def test_a_gateway_of_another_app_is_not_taken_for_ours(guarded: str):
    result = asked("--gateway", guarded, "--app", "bakery", ENGINE_API_TOKEN=TOKEN)
    assert result.exit_code == 5
    assert f"to serve app 'bakery', but it serves {APP!r}" in result.stderr
    assert asked("--gateway", guarded, "--app", APP, ENGINE_API_TOKEN=TOKEN).exit_code == 3


def test_the_gateway_that_is_announced_in_a_directory_is_found(http_place: Place, tmp_path: Path):
    url = http_place.arguments[1]
    with announcing(tmp_path, url):
        assert asked("--dir", str(tmp_path)).exit_code == 3
    assert not (tmp_path / ADDRESS_FILE).exists()


def test_the_word_of_one_that_was_killed_is_passed_over(
    http_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.cli.opening.GATEWAY_URL", http_place.arguments[1])
    (tmp_path / ADDRESS_FILE).write_text(NOWHERE, encoding="utf-8")
    assert asked("--dir", str(tmp_path)).exit_code == 3


def test_what_is_meant_for_a_log_that_is_not_served_goes_to_no_other(
    http_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.cli.opening.GATEWAY_URL", http_place.arguments[1])
    with closing(EmbeddedLog(tmp_path)):
        pass
    result = asked("--dir", str(tmp_path))
    assert result.exit_code == 5
    assert f"expected 'engine dev' to serve HTTP for '{tmp_path}'" in result.stderr
    assert "--via dir" in result.stderr
    # Who is named is asked.
    assert asked("--dir", str(tmp_path), "--gateway", http_place.arguments[1]).exit_code == 3
    assert asked("--dir", str(tmp_path), "--app", APP).exit_code == 3
    assert asked("--dir", str(tmp_path), "--via", "dir").exit_code == 3


class Sidecar(BaseHTTPRequestHandler):
    """Who may have the usual port: Dapr's own sidecar."""

    body = b'{"id": "shop", "extended": {"daprRuntimeVersion": "1.16"}}'

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("body", [Sidecar.body, b"<html>", b"[]"])
def test_what_is_no_gateway_is_told_from_one(body: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Sidecar, "body", body)
    with HTTPServer(("127.0.0.1", 0), Sidecar) as server:
        serving_thread = threading.Thread(target=server.serve_forever)
        serving_thread.start()
        try:
            result = asked("--gateway", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            serving_thread.join()
    assert result.exit_code == 5
    assert "expected a gateway at" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--via", "dir", "--gateway", NOWHERE], "--gateway is of no use with --via dir"),
        (["--bootstrap-servers", "localhost:9092"], "it is for --via kafka"),
        (["--via", "kafka", "--dir", "."], "it is for --via dir or --via http"),
    ],
)
def test_an_option_that_the_way_has_no_use_for_is_refused(arguments, text):
    result = asked(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr


def test_of_the_environment_what_the_way_has_no_use_for_is_let_be():
    result = asked("--gateway", NOWHERE, ENGINE_BOOTSTRAP_SERVERS="localhost:9092", ENGINE_NAMESPACE="x")
    assert result.exit_code == 5


def test_an_id_that_no_instance_has_is_refused_with_the_reason(http_place: Place):
    result = CliRunner().invoke(cli, ["get", "a/b", *http_place.arguments])
    assert result.exit_code == 1
    assert "no instance has such an id" in result.stderr


# --- shells ---


def completed(words: str, number: int) -> list[str]:
    environment = {"_ENGINE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    result = CliRunner().invoke(cli, [], env=environment, prog_name="engine")
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_a_shell_completes_commands_options_and_values():
    assert completed("engine dead", 1) == ["deadletter"]
    assert completed("engine deadletter r", 2) == ["replay"]
    assert completed("engine work", 1) == ["worker"]
    assert completed("engine list --stat", 2) == ["--status"]
    assert "yaml" in completed("engine get x -o ", 4)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_must_read_is_printed(shell: str):
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert f"_ENGINE_COMPLETE={shell}_complete" in result.stdout


# --- forms ---


def test_yaml_and_json_can_not_steer_a_terminal():
    value = {"id": "\x1b[31mred", "name": "é", "text": "a\u202eb"}
    for text in (yaml_text(value), json_text(value)):
        assert all(each.isprintable() or each == "\n" for each in text)
    assert yaml_text({"name": "é"}) == "name: é\n"
