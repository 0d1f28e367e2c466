"""A gateway as a whole: projection, service and HTTP server, in a thread with an event loop of its own."""

import asyncio
import logging
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvicorn
from prometheus_client.registry import Collector
from starlette.types import ASGIApp
from typing_extensions import override

from engine.client.connection import Connection
from engine.errors import ConfigurationError
from engine.gateway.api import Api
from engine.gateway.app import build_app, described
from engine.gateway.dapr import DaprApi
from engine.gateway.guard import Policy
from engine.gateway.http import Route
from engine.gateway.idempotency import Keys
from engine.gateway.lag import Lag
from engine.gateway.measures import Measured, Measures
from engine.gateway.metrics import METRICS, READERS, View
from engine.gateway.operators import OperatorApi
from engine.gateway.protocol import PromptProtocol
from engine.gateway.service import COMMAND_WAIT_S, Service
from engine.gateway.sidecar import SidecarApi
from engine.gateway.streams import Streams
from engine.ownership import OwnerLock
from engine.projection import Projection, ReadModel, Split, SplitProjection, remove
from engine.telemetry.collector import TableCollector

log = logging.getLogger(__name__)
# It tells of every start and end what is told here already.
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

HOST = "127.0.0.1"
PORT = 3500
PROJECTION_FILE = "projection.sqlite3"
# Not that of a log: both may be in one directory.
LOCK_FILE = "gateway.lock"
PROJECTION_FILES = "projection*.sqlite3"
KEYS_FILE = "idempotency.sqlite3"
# A head beyond this is cut off by the parser; up to it, the guard says what is wrong.
HEAD_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 5_000
BACKLOG = 512
STOP_S = 2
CLOSE_S = 4.0


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is told."""

    app_id: str
    directory: Path
    host: str = HOST
    # 0 means any that is free.
    port: int = PORT
    token: str = ""
    # How many workers run in this process.
    workers: int = 0
    # Of the topics; a label of Dapr's metrics.
    namespace: str = "wf"
    command_wait_s: float = COMMAND_WAIT_S
    # Several processes build the read model, instead of a thread of this one.
    split: Split | None = None


class Gateway:
    """Serves from `start` to `close`. Takes over neither the connection nor the process."""

    def __init__(
        self, connection: Connection, settings: GatewaySettings, on_shutdown: Callable[[], None]
    ) -> None:
        """Takes its port and its directory.

        Raises ConfigurationError; UnreachableError where the log does not answer.
        """
        self._settings = settings
        self._connection = connection
        self._on_shutdown = on_shutdown
        self._policy = Policy(settings.host, settings.token)
        self._socket = _bind(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        with ExitStack() as resources:
            resources.callback(self._socket.close)
            self._lock = _own(settings.directory)
            resources.callback(self._lock.release)
            self.projection = _read_model(connection, settings)
            resources.pop_all()
        self._measures = Measures()
        self._lag = Lag()
        # None until it has begun.
        self.service: Service | None = None
        # Its metrics; it tells none before it has begun.
        self.collector: Collector = TableCollector(METRICS, READERS, self._view)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    @property
    def has_failed(self) -> bool:
        """Whether it ended by a bug of its own."""
        return self._failure is not None

    @property
    def url(self) -> str:
        """Where it is."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Returns when it serves. Raises what keeps it from serving."""
        self.projection.start()
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self.projection.close()
            raise self._failure

    def close(self) -> None:
        """Ends streams and waits, answers what is under way, and lets go of everything: within seconds."""
        stop = self._stop
        if stop is not None:
            stop()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        self.projection.close()
        self._lock.release()
        self._socket.close()

    def _view(self) -> View | None:
        service = self.service
        if service is None:
            return None
        return View(self._measures, service, self._lag, self._settings.app_id, self._settings.namespace)

    # --- the thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as problem:
            if self._ready.is_set():
                log.critical("the gateway ended by a bug of its own", exc_info=problem)
                self._on_shutdown()
            self._failure = problem
        finally:
            self._stop = None
            self._ready.set()

    async def _serve(self) -> None:
        measures, wait_s = self._measures, self._settings.command_wait_s
        service = Service(self._connection, self.projection, measures, wait_s=wait_s)
        keys = _open_keys(self._settings.directory / KEYS_FILE)
        streams = Streams(measures)
        watching: asyncio.Task[None] | None = None
        try:
            await service.start()
            self.service = service
            watching = asyncio.create_task(self._lag.watch(service))
            table = all_routes(service, streams, self._settings, self._on_shutdown)
            app = Measured(build_app(table, keys, self._policy), measures)
            server = _Server(app, self._ready.set)
            self._stop = _stopping(server, streams, service)
            await server.serve(sockets=[self._socket])
        finally:
            if watching is not None:
                watching.cancel()
            await service.close()
            keys.close()


def all_routes(
    service: Service, streams: Streams, settings: GatewaySettings, on_shutdown: Callable[[], None]
) -> list[Route]:
    """The one table: what is in it is served and described, and nothing else is."""
    return described(
        [
            *DaprApi(service, settings.app_id).routes(),
            *SidecarApi(service, settings.app_id, settings.workers, on_shutdown).routes(),
            *Api(service, streams).routes(),
            *OperatorApi(service).routes(),
        ]
    )


def _own(directory: Path) -> OwnerLock:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return OwnerLock(directory, "a gateway's files", LOCK_FILE)
    except OSError as error:
        message = f"expected to be able to write in {directory}, but: {error}; see --state-dir"
        raise ConfigurationError(message) from error


def _read_model(connection: Connection, settings: GatewaySettings) -> ReadModel:
    directory = settings.directory
    if settings.split is None:
        made: ReadModel = Projection(connection, directory / PROJECTION_FILE)
    else:
        made = SplitProjection(connection, directory, settings.split)
    # Of another number of files, as it was told before.
    for path in set(directory.glob(PROJECTION_FILES)) - set(made.paths):
        remove(path)
    return made


class _Server(uvicorn.Server):
    """Uvicorn, as it is needed here: no signals, no log of its own, and it says when it serves."""

    def __init__(self, app: ASGIApp, on_started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=PromptProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
        super().__init__(config)
        self._on_started = on_started

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._on_started()


def _stopping(server: _Server, streams: Streams, service: Service) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def end() -> None:
        streams.end()
        service.end_waits()
        server.should_exit = True

    def stop() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(end)

    return stop


def is_taken(host: str, port: int) -> bool:
    """Whether somebody else serves there."""
    try:
        _bind(host, port).close()
    except ConfigurationError:
        return True
    return False


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, for only then does asyncio send at once: else an answer's body waits 40 ms behind its
    # head, for the acknowledgement that its reader delays.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        message = f"expected to serve HTTP on {host}:{port}, but {error.strerror or error}; see --http-port"
        raise ConfigurationError(message) from error
    return bound


def _open_keys(path: Path) -> Keys:
    try:
        return Keys(path)
    except sqlite3.Error as error:
        message = f"expected {path} to hold idempotency keys, but {error}; move it away"
        raise ConfigurationError(message) from error
