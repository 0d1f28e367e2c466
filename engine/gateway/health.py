"""How a gateway is, for probes of a process that serves only HTTP, each check with its reason. Only looks.

Live: it runs; one that waits for its Kafka lives too. Ready: it can read the log, and its read model is near
its end, so that another may be stopped.
"""

from engine.gateway.service import Service
from engine.telemetry.health import Check, Health


def live(service: Service | None) -> Health:
    """Whether the process is worth keeping."""
    text = "not begun yet" if service is None else "serves"
    return Health([Check("gateway", is_good=True, detail=text)])


def ready(service: Service | None) -> Health:
    """Whether it answers commands and questions."""
    if service is None:
        return Health([Check("connection", is_good=False, detail="waits for Kafka, or for its topics")])
    return Health([_connection(service), _read_model(service)])


def _connection(service: Service) -> Check:
    if service.is_connected:
        return Check("connection", is_good=True, detail="history and replies are read")
    return Check("connection", is_good=False, detail="history or replies can't be read; see the log")


def _read_model(service: Service) -> Check:
    projection = service.projection
    if projection.has_failed:
        return Check("read-model", is_good=False, detail="stands still by a bug of ours; see the log")
    progress = projection.progress
    text = f"has read {progress.offset:,} of {progress.end:,} offsets that history had at the start"
    return Check("read-model", progress.is_done, text)
