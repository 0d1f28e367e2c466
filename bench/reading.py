"""W12: the reading side. How fast a read model is built, whether it follows, and how late a waiter is woken.

*Built*: all of one partition's history, filled as in W7, into SQLite; beside it `Floor.read_history`, the
same records read and nothing made of them. *Following*: a burst of chains while `engine gateway` serves the
app: how many events a second the engine wrote, by how many offsets the read model was behind when the last
outcome was seen, and how long until it had them. *Waits*: HTTP requests that wait for one instance, answered
after a client of its own saw the outcome in committed history: that is the zero of these times.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx

from bench.clients import Burst, Raise
from bench.filling import fill
from bench.latency import EVENT, EVENT_DATA
from bench.links import KafkaPlace, Place
from bench.measuring import Meter, spread_ms
from bench.records import HISTORY, script_of
from bench.session import Session
from bench.stacks import Stack, WorkerProcess
from bench.telling import Json, Table, latency_text, number_of, told, trouble
from engine.client.connection import Connection
from engine.client.opening import open_embedded, open_kafka
from engine.projection import Projection

PARTITION = 0
LAG = "engine-projection-lag"
LOOK_SECONDS = 0.02
# Before an event is sent its waiter must have begun to wait; how long it did is no part of what is measured.
SETTLE_SECONDS = 0.02
TABLE_BUILT = "read model built, events/s (of CPU)"


def w12(session: Session) -> Json:
    """Builds a read model; follows a burst; wakes waiters."""
    built = _build(session)
    with session.ready("w12-live") as stack, _gateway(stack, session.sizes["seconds_max"]) as http:
        following = _follow(session, stack, http)
        waits = _wait(session, stack, http)
    table: Table = {
        TABLE_BUILT: f"{built['events_per_s']:,.0f} ({built['events_per_cpu_s']:,.0f})",
        "floor records/s": f"{built['floor']['records'] / built['floor']['seconds']:,.0f}",
        "engine's events/s, followed": f"{following['events_per_s']:,.0f}",
        "read model behind at the end (caught up after s)": (
            f"{following['behind']:,} ({following['caught_up_s']:g})"
        ),
        "commit seen to waiter answered p50/p95/p99 ms": latency_text(waits["latency"]),
    }
    for name, one in (("following", following), ("waits", waits)):
        table |= trouble(name, one)
    return {"built": built, "following": following, "waits": waits, "table": table}


# --- built ---


def _build(session: Session) -> Json:
    count = session.sizes["w12_filled"]
    with session.lab.stack("w12-built", partitions=1) as stack:
        fill(stack.place, "chain", 1, count)
        with closing(_connect(stack.place)) as connection:
            path = stack.directory / "read-model" / "projection.sqlite3"
            projection = Projection(connection, path, partitions=[PARTITION])
            began, cpu_began = time.perf_counter(), time.process_time()
            projection.start()
            projection.reached(connection.ends()).result(session.sizes["seconds_max"])
            seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
            file_bytes, events = projection.file_bytes(), projection.events
            projection.close()
        with stack.floor() as floor:
            read = floor.read_history(PARTITION)
    return {
        "instances": count,
        "events": events,
        "seconds": round(seconds, 3),
        "events_per_s": round(events / seconds, 1),
        "cpu_s": round(cpu_s, 3),
        "events_per_cpu_s": round(events / cpu_s, 1),
        "file_bytes": file_bytes,
        "floor": read,
    }


def _connect(place: Place) -> Connection:
    if isinstance(place, KafkaPlace):
        return open_kafka(place.bootstrap_servers, place.app, place.namespace, None)
    return open_embedded(place.directory)


# --- a gateway ---


@contextmanager
def _gateway(stack: Stack, seconds_max: float) -> Iterator[httpx.Client]:
    words = ["gateway", "--http-port", "0", "--state-dir", str(stack.directory / "gateway")]
    place = stack.place
    if isinstance(place, KafkaPlace):
        words += ["--bootstrap-servers", place.bootstrap_servers, "--app", place.app]
    else:
        words += ["--dir", str(place.directory)]
    process = WorkerProcess(words, stack.directory / "gateway.log")
    try:
        process.wait_line("serving http")
        url = next(line for line in process.lines("serving http")).split()[1].rstrip(";")
        with httpx.Client(base_url=url, timeout=seconds_max, trust_env=False) as http:
            _until(lambda: http.get("/v1.0/healthz").status_code == httpx.codes.NO_CONTENT, seconds_max)
            yield http
    finally:
        process.stop()


def _until(is_met: Callable[[], bool], seconds_max: float) -> None:
    deadline = time.monotonic() + seconds_max
    while not is_met():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the gateway did not get there in {seconds_max} s")
        time.sleep(LOOK_SECONDS)


def _behind(http: httpx.Client) -> int:
    return int(http.get("/api/v1/counts").headers[LAG])


def _follow(session: Session, stack: Stack, http: httpx.Client) -> Json:
    runs = session.sizes["w12_runs"]
    with stack.client("raw") as client:
        burst, meter = session.burst(stack, client, session.starts("chain", runs), session.sizes["w1_window"])
    ended, behind = time.perf_counter(), _behind(http)
    _until(lambda: _behind(http) == 0, session.sizes["seconds_max"])
    caught_up_s = time.perf_counter() - ended
    events = sum(len(step.records) for step in script_of("chain", 1).steps if step.topic == HISTORY)
    each = told(burst, meter, lambda instance_id: number_of(instance_id) + 3, 3)
    return each | {
        "events_per_s": round(each["runs_per_s"] * events, 1),
        "behind": behind,
        "caught_up_s": round(caught_up_s, 3),
    }


# --- waits ---


def _wait(session: Session, stack: Stack, http: httpx.Client) -> Json:
    starts = session.starts("event", session.sizes["w12_waits"])
    late: list[float] = []
    whole = Burst()
    with stack.client("raw") as client, ThreadPoolExecutor(1) as pool, Meter(stack.pids) as meter:
        client.begin(starts, len(starts), session.sizes["seconds_max"])
        for start in starts:
            answer = pool.submit(_answered_at, http, start.instance_id)
            time.sleep(SETTLE_SECONDS)
            ask = Raise(start.instance_id, EVENT, EVENT_DATA)
            burst = client.burst([ask], 1, session.sizes["seconds_max"])
            late += _lateness(burst, start.instance_id, answer)
            whole.began_at |= burst.began_at
            whole.seen_at |= burst.seen_at
            whole.results |= burst.results
    expected = {start.instance_id: start.input + EVENT_DATA for start in starts}
    return told(whole, meter, expected.__getitem__, 0) | {"latency": spread_ms(late)}


def _answered_at(http: httpx.Client, instance_id: str) -> float:
    answer = http.get(f"/api/v1/instances/{instance_id}/wait")
    answered_at = time.perf_counter()
    if not answer.json()["is_met"]:
        raise RuntimeError(f"{instance_id} had no outcome for its waiter: {answer.text}")
    return answered_at


def _lateness(burst: Burst, instance_id: str, answer: "Future[float]") -> list[float]:
    """Of a waiter, against the client that reads history itself: below 0 where the waiter was first."""
    answered_at = answer.result()
    return [answered_at - seen_at for seen_at in [burst.seen_at.get(instance_id)] if seen_at is not None]
