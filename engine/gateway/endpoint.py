"""What a process that serves only HTTP tells of itself, on a port of its own. It asks for no token.

So a Prometheus needs no secret of the API, and who may call the API learns nothing of the process.
"""

from engine.gateway import health
from engine.gateway.server import Gateway
from engine.gateway.service import Service
from engine.telemetry.server import TelemetryServer


class Endpoint:
    """Answers from the moment it is made; of a gateway once it is shown one."""

    def __init__(self, host: str, port: int) -> None:
        """Raises ConfigurationError where the port can't be had."""
        self._gateway: Gateway | None = None
        self._server = TelemetryServer(
            host, port, lambda: health.live(self._service), lambda: health.ready(self._service)
        )
        self.port = self._server.port

    def show(self, gateway: Gateway) -> None:
        """From now on it tells of this gateway."""
        self._gateway = gateway
        self._server.add(gateway.collector)

    def close(self) -> None:
        """Answers no more."""
        self._server.close()

    @property
    def _service(self) -> Service | None:
        return None if self._gateway is None else self._gateway.service
