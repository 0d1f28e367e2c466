"""What the metrics cost where the work is done: all that is counted for a run, and for a request.

Least where records come in batches, most where each comes alone. A scrape reads on threads of its own, and is
not in it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from engine.gateway.http import Route
from engine.gateway.measures import ROUTE, Measured
from engine.gateway.measures import Measures as RequestMeasures
from engine.model.effects import RunActivity
from engine.model.state import InstanceState, Phase
from engine.node.activity_measures import ActivityMeasures
from engine.partition.batch import Batch
from engine.partition.measures import Measures
from engine.partition.ports import Committed

NOW_MS = 1_790_000_000_000
ACTIVITIES = 3
BATCH = 100
Row = tuple[str, str, int, float]


def counting(watches: Callable[[], Any], runs: int) -> Iterator[Row]:
    """The calls that owners, activity pools and a gateway make to their measures."""
    calls = [_call(number) for number in range(runs * ACTIVITIES)]
    for size, how in ((1, "each record alone"), (BATCH, f"{BATCH} records at a time")):
        watch = watches()
        with watch.running():
            _count_runs(calls, size)
        yield f"metrics: all that is counted, {how}", "run of 3 activities", runs, watch.seconds
    for what, app in (("bare", _app), ("measured", Measured(_app, RequestMeasures()))):
        watch = watches()
        with watch.running():
            asyncio.run(_request(app, runs))
        yield f"metrics: ASGI around nothing, {what}", "request", runs, watch.seconds


def _count_runs(calls: list[RunActivity], batch_size: int) -> None:
    owners, pool = Measures(time.perf_counter_ns, ["chain"]), ActivityMeasures(["increment"])
    counters, ended = owners.partition(0), Committed(history_position=1, timestamp_ms=NOW_MS)
    state = InstanceState(
        instance_id="counted",
        run_id="r",
        workflow="chain",
        phase=Phase.COMPLETED,
        created_at_ms=NOW_MS,
        last_event_at_ms=NOW_MS + 20,
        sequence=2 * ACTIVITIES + 2,
        history_bytes=1_000,
    )
    batch = Batch(1)
    for number in range(len(calls) // ACTIVITIES * (ACTIVITIES + 1)):
        run, step = divmod(number, ACTIVITIES + 1)
        if number % batch_size == 0:
            owners.turns_begin(counters, 3)
        counters.turns += 1
        counters.events += 2
        if step == 0:
            owners.started("chain", 3)
        else:
            call = calls[run * ACTIVITIES + step - 1]
            pool.asked(call)
            pool.began(call)
            pool.finished(call, has_failed=False)
        if step == ACTIVITIES:
            owners.run_ended(state)
        if (number + 1) % batch_size == 0:
            owners.turns_end(counters)
            owners.commit_ended(batch, ended)


def _call(number: int) -> RunActivity:
    return RunActivity(
        instance_id="counted",
        run_id="r",
        workflow="chain",
        scheduled=number,
        call_id=b"c",
        name="increment",
        input=None,
        attempt=1,
    )


# --- a gateway's requests ---


async def _handle(*_: object) -> Any:
    raise NotImplementedError


START = Route(
    method="POST",
    path="/v1.0/workflows/{component}/{workflow}/start",
    name="start",
    prose="",
    tag="",
    handle=_handle,
    responses=(),
    dapr_operation="create_workflow",
)


async def _app(scope: Scope, _: Receive, send: Send) -> None:
    scope[ROUTE] = START
    await send({"type": "http.response.start", "status": 202, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _request(app: Any, times: int) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(_: Message) -> None:
        pass

    for _ in range(times):
        await app({"type": "http"}, receive, send)
