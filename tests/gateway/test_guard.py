"""Who may ask, and how much: the token, the names of hosts, the bounds."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.gateway import guard, protocol
from engine.gateway.guard import Policy
from engine.gateway.http import BODY_BYTES_MAX, HEADER_BYTES_MAX
from engine.gateway.server import Gateway, GatewaySettings
from tests.client.running import eventually
from tests.gateway.conftest import APP, WAIT_S, asking, serving
from tests.gateway.test_dapr import error, new_id, root

TOKEN = "quite-secret"
GET = f"{root()}/nobody"


@pytest.fixture(scope="module")
def locked(connection, tmp_path_factory):
    with serving(connection, Path(tmp_path_factory.mktemp("locked")), token=TOKEN) as gateway:
        yield gateway


@pytest.mark.parametrize("headers", [{}, {"dapr-api-token": "wrong"}, {"dapr-api-token": ""}])
@pytest.mark.parametrize("path", [GET, "/api/v1/instances", "/openapi.json", "/v1.0/metadata", "/nowhere"])
def test_without_the_token_nothing_is_told(locked, headers, path):
    with asking(locked, **headers) as http:
        assert error(http.get(path))[:2] == (401, "ERR_UNAUTHORIZED")


def test_with_the_token_everything_is(locked):
    with asking(locked, **{"dapr-api-token": TOKEN}) as http:
        assert http.get("/api/v1/instances").status_code == 200
        started = http.post(f"{root()}/chain/start?instanceID={new_id()}", content=b"1")
        assert started.status_code == 202
        # Who knows the token may come by any name, and from a web page that was given it.
        names = {"host": "workflows.example", "origin": "https://shop.example"}
        assert http.get("/api/v1/counts", headers=names).status_code == 200


@pytest.mark.parametrize("path", ["/v1.0/healthz", "/v1.0/healthz/outbound"])
def test_health_needs_no_token(locked, path):
    with asking(locked) as http:
        assert http.get(path).status_code in (204, 500)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_needs_no_token(host):
    Policy(host, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "workflows.example", ""])
def test_an_address_that_others_reach_needs_a_token(host):
    Policy(host, TOKEN)
    with pytest.raises(ConfigurationError, match="ENGINE_API_TOKEN"):
        Policy(host, "")


@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.rebound.example", "[::2]", "10.0.0.1:3500", "["]
)
def test_a_name_that_only_resolves_to_this_machine_is_refused(http, host):
    assert error(http.get(GET, headers={"host": host}))[:2] == (403, "ERR_FORBIDDEN")


@pytest.mark.parametrize("host", ["localhost", "localhost:3500", "127.0.0.1:1", "[::1]:3500", "LOCALHOST"])
def test_this_machine_has_several_names(http, host):
    assert error(http.get(GET, headers={"host": host}))[0] == 404


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example:3500"])
def test_no_web_page_may_ask_without_a_token(http, origin):
    answer = http.post(f"{root()}/chain/start", headers={"origin": origin, "content-type": "text/plain"})
    assert error(answer)[:2] == (403, "ERR_FORBIDDEN")


def test_a_page_of_this_machine_may(http):
    assert http.get("/api/v1/counts", headers={"origin": "http://localhost:8080"}).status_code == 200


# --- bounds ---


def test_a_body_within_its_bound_is_read_and_one_beyond_is_not(http):
    fitting = http.post(f"{root()}/nobody/terminate", content=b" " * (BODY_BYTES_MAX - 2) + b"{}")
    assert error(fitting)[0] == 404
    beyond = http.post(f"{root()}/nobody/terminate", content=b" " * (BODY_BYTES_MAX - 1) + b"{}")
    assert error(beyond)[:2] == (413, "ERR_REQUEST_TOO_LARGE")


def test_a_body_that_does_not_say_its_size_is_bounded_too(http):
    chunks = (b" " * 65_536 for _ in range(17))
    answer = http.post(f"{root()}/nobody/terminate", content=chunks)
    assert error(answer)[:2] == (413, "ERR_REQUEST_TOO_LARGE")


def test_an_input_is_bounded_as_everywhere(http):
    instance = new_id()
    fitting = http.post(f"{root()}/approval/start?instanceID={instance}", content=b'"%s"' % (b"x" * 524_286))
    assert fitting.status_code == 202
    beyond = http.post(f"{root()}/approval/start?instanceID={new_id()}", content=b'"%s"' % (b"x" * 524_287))
    status, code, message = error(beyond)
    assert (status, code) == (413, "ERR_REQUEST_TOO_LARGE")
    assert "524,288" in message


def test_headers_are_bounded(http):
    assert http.get(GET, headers={"x-large": "x" * (HEADER_BYTES_MAX - 1_000)}).status_code == 404
    beyond = http.get(GET, headers={"x-large": "x" * HEADER_BYTES_MAX})
    assert error(beyond)[:2] == (431, "ERR_HEADERS_TOO_LARGE")


def test_a_path_counts_as_a_header(http):
    assert error(http.get(f"{root()}/{'x' * HEADER_BYTES_MAX}"))[:2] == (431, "ERR_HEADERS_TOO_LARGE")


def test_a_head_without_end_is_cut_off(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 200_000)
        assert raw.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 431")


def test_a_port_that_is_taken_is_named(gateway, connection, tmp_path):
    settings = GatewaySettings(app_id=APP, directory=tmp_path, port=gateway.port)
    with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{gateway.port}.*--http-port"):
        Gateway(connection, settings, on_shutdown=lambda: None)


def test_the_body_of_an_answer_is_sent_without_waiting_for_its_head_to_be_acknowledged(gateway):
    # asyncio turns Nagle's delay off for what says that it is TCP, and for nothing else.
    assert gateway._socket.proto == socket.IPPROTO_TCP


# --- callers that do not come to the point ---


def talk(gateway: Gateway, *pieces: bytes) -> bytes:
    """All that is answered until the gateway ends the connection."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


POST = b"POST " + f"{root()}/chain/start HTTP/1.1\r\nhost: localhost\r\n".encode()


@pytest.mark.parametrize("pieces", [(), (POST,), (b"G",)], ids=["silent", "half a head", "a letter"])
def test_a_head_that_does_not_come_ends_the_connection(gateway, monkeypatch, pieces):
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    assert talk(gateway, *pieces) == b""


def test_a_head_in_time_has_no_timer_over_its_answer(http, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    query = {"timeout_seconds": 0.5}
    for _ in range(2):
        assert http.get("/api/v1/instances/nobody/wait", params=query).json()["is_met"] is False


def test_a_body_that_stops_is_answered_and_not_waited_for(gateway, monkeypatch):
    monkeypatch.setattr(guard, "PIECE_S", 0.1)
    monkeypatch.setattr(guard, "DRAIN_S", 0.1)
    answer = talk(gateway, POST + b"content-length: 10\r\n\r\n123")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"ERR_REQUEST_TIMEOUT" in answer
    assert b"it stays at 3 bytes" in answer


def test_a_body_that_would_be_too_large_is_refused_before_it_comes(gateway, monkeypatch):
    monkeypatch.setattr(guard, "DRAIN_S", 0.1)
    answer = talk(gateway, POST + b"content-length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_request_of_two_lengths_is_refused(gateway):
    both = b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    assert talk(gateway, POST + both).startswith(b"HTTP/1.1 400")


def test_who_goes_away_in_the_middle_of_a_body_is_no_bug_of_ours(gateway, http, caplog):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
        connection.sendall(POST + b"content-length: 10\r\n\r\n123")
    place = ("POST", "/v1.0/workflows/{component}/{workflow}/start", "400")
    eventually(lambda: gateway._measures.requests[place], lambda count: count > 0)
    assert http.get("/v1.0/metadata").status_code == 200
    assert "bug" not in caplog.text
