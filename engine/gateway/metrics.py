"""The table of a gateway's metrics, and what each reads now. Must never change anything, nor wait.

Other threads change what is read here, so every dictionary is copied before it is walked.
"""

import time
from collections.abc import Callable, Iterator

import msgspec

from engine.gateway.lag import Lag
from engine.gateway.measures import Measures, Outcome
from engine.gateway.service import Service
from engine.partition.measures import SECOND
from engine.telemetry.backlog import Waiting
from engine.telemetry.table import Kind, Metric, Reading, Scaled, one
from engine.telemetry.table import Reader as TableReader

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ROUTE = ("method", "route")
_DAPR_LATENCY = "dapr_runtime_workflow_operation_latency"

METRICS = (
    # --- requests ---
    Metric(
        "engine_gateway_requests_total",
        _C,
        "Requests that are over; `other`: no route, or refused before one was looked for.",
        (*_ROUTE, "status"),
    ),
    Metric(
        "engine_gateway_request_seconds",
        _H,
        "Seconds from a request to the end of its answer; waits and streams last as long as is wished.",
        _ROUTE,
    ),
    Metric("engine_gateway_requests_under_way", _G, "Requests being answered, waits and streams included."),
    Metric("engine_gateway_waits", _G, "Requests that wait for an instance."),
    Metric("engine_gateway_streams", _G, "Streams of events that are open."),
    Metric(
        "engine_gateway_commands_total",
        _C,
        "Commands sent: accepted, refused, undecided in time, or failed for the log did not take them.",
        ("outcome",),
    ),
    Metric("engine_gateway_command_seconds", _H, "Seconds from sending a command to its owner's answer."),
    Metric(
        _DAPR_LATENCY,
        _H,
        "Milliseconds that Dapr's operations took their callers.",
        ("app_id", "namespace", "operation", "status"),
    ),
    # --- where it stands ---
    Metric("engine_gateway_connected", _G, "1 while history and replies can be read, else 0."),
    Metric(
        "engine_gateway_ready", _G, "1 while it is connected and its read model has caught up once, else 0."
    ),
    Metric(
        "engine_projection_lag_records",
        _G,
        "Offsets of committed history that the read model does not show.",
        ("partition",),
    ),
    Metric(
        "engine_projection_lag_seconds",
        _G,
        "Seconds for which the oldest of them has been seen.",
        ("partition",),
    ),
    Metric("engine_projection_events_total", _C, "Events of history that the read model took in."),
    Metric("engine_projection_bytes", _G, "Bytes of the read model's files."),
)


class View(msgspec.Struct, frozen=True):
    """What is read: a gateway's parts, and the app's names."""

    measures: Measures
    service: Service
    lag: Lag
    app_id: str
    namespace: str


Reader = TableReader[View]


def _requests(view: View) -> Iterator[Reading]:
    yield from view.measures.requests.copy().items()


def _request_seconds(view: View) -> Iterator[Reading]:
    for place, histogram in view.measures.request_ns.copy().items():
        yield place, Scaled(histogram, SECOND)


def _commands(view: View) -> Iterator[Reading]:
    for outcome in Outcome:
        yield (outcome.value,), view.measures.commands[outcome]


def _operations(view: View) -> Iterator[Reading]:
    for (operation, status), histogram in view.measures.operation_ms.copy().items():
        yield (view.app_id, view.namespace, operation, status), Scaled(histogram)


def _lags(value: Callable[[Waiting], float]) -> Reader:
    def reader(view: View) -> Iterator[Reading]:
        for partition, waiting in view.lag.waiting.items():
            yield (str(partition),), value(waiting)

    return reader


READERS: dict[str, Reader] = {
    "engine_gateway_requests_total": _requests,
    "engine_gateway_request_seconds": _request_seconds,
    "engine_gateway_requests_under_way": one(lambda v: v.measures.under_way),
    "engine_gateway_waits": one(lambda v: v.measures.waits),
    "engine_gateway_streams": one(lambda v: v.measures.streams),
    "engine_gateway_commands_total": _commands,
    "engine_gateway_command_seconds": one(lambda v: Scaled(v.measures.command_ns, SECOND)),
    _DAPR_LATENCY: _operations,
    "engine_gateway_connected": one(lambda v: v.service.is_connected),
    "engine_gateway_ready": one(lambda v: v.service.is_ready),
    "engine_projection_lag_records": _lags(lambda waiting: waiting.records),
    "engine_projection_lag_seconds": _lags(lambda waiting: waiting.seconds(time.monotonic())),
    "engine_projection_events_total": one(lambda v: v.service.projection.events),
    "engine_projection_bytes": one(lambda v: v.service.projection.file_bytes()),
}
