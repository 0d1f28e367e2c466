"""The port on which a process tells how it is: /metrics and /healthz. Takes only GET; shows no payload.

On threads of its own, which only read: a process runs no differently for being looked at.
"""

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector
from typing_extensions import override

from engine.errors import ConfigurationError
from engine.telemetry.health import Health

log = logging.getLogger(__name__)

PORT_MAX = 65_535
READ_SECONDS = 10
HEALTH, LIVE, READY = "/healthz", "/healthz/live", "/healthz/ready"

Start = Callable[[str, list[tuple[str, str]]], object]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Its handler threads end with the process, as they only read.
    block_on_close = False


class _Handler(WSGIRequestHandler):
    # A connection that says nothing must not keep its thread for ever.
    timeout = READ_SECONDS

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is nothing to tell of."""


class TelemetryServer:
    """Answers from the moment it is made; of metrics, those that were added by then."""

    def __init__(self, host: str, port: int, live: Callable[[], Health], ready: Callable[[], Health]) -> None:
        """Raises ConfigurationError where the port can't be had."""
        self._health: dict[str, Callable[[], Health]] = {
            HEALTH: lambda: Health([*live().checks, *ready().checks]),
            LIVE: live,
            READY: ready,
        }
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._metrics = make_wsgi_app(self._registry)
        self._server = _listen(host, port, self._answer)
        self.port: int = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def add(self, collector: Collector) -> None:
        """From now on its metrics are told too."""
        self._registry.register(collector)

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET":
            return _plain(start, "405 Method Not Allowed", b"expected GET\n")
        try:
            if path == "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start)
                return answer
            if path in self._health:
                found = self._health[path]()
                status = "200 OK" if found.is_good else "503 Service Unavailable"
                return _plain(start, status, found.body(), "application/json")
        except Exception:
            log.exception("%s not answered", path)
            return _plain(start, "500 Internal Server Error", b"see the log\n")
        paths = ", ".join(("/metrics", *self._health))
        return _plain(start, "404 Not Found", f"expected one of {paths}\n".encode())


def _plain(start: Start, status: str, body: bytes, content_type: str = "text/plain") -> list[bytes]:
    start(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def _listen(host: str, port: int, answer: Callable[..., Iterable[bytes]]) -> _Server:
    remedy = "choose another with --metrics-port and --metrics-host"
    if port > PORT_MAX:
        message = (
            f"expected a port up to {PORT_MAX} for metrics, but with the slot's number it is {port}; {remedy}"
        )
        raise ConfigurationError(message)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = type("_FamilyServer", (_Server,), {"address_family": family})
    try:
        return make_server(host, port, answer, server, _Handler)
    except OSError as error:
        what = "it is taken" if error.errno == errno.EADDRINUSE else str(error)
        message = f"expected to listen on {host} port {port} for metrics, but {what}; {remedy}"
        raise ConfigurationError(message) from error
