"""Ten thousand instances, page by page over HTTP, while new ones arrive."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from engine.model import events as ev
from engine.model.failure import Payload
from engine.projection import Order
from tests.client.running import eventually
from tests.gateway.conftest import asking, serving
from tests.projection.made_log import MadeLog

STARTED = ev.InstanceStarted(workflow="order", input=Payload(b"1"))
THERE = [f"there-{number:05d}" for number in range(10_000)]
LIMIT = 500


def counted(http: httpx.Client) -> int:
    return sum(each["instances"] for each in http.get("/api/v1/counts").json()["counts"])


@pytest.fixture(scope="module")
def log() -> MadeLog:
    log = MadeLog()
    for number, name in enumerate(THERE):
        # Many share a millisecond, as under load.
        log.commit((name, "r1", 1, STARTED), at_ms=1_000 + number // 50)
    return log


@pytest.mark.parametrize("order", list(Order))
def test_each_is_listed_exactly_once_while_new_ones_arrive(log: MadeLog, tmp_path: Path, order: Order):
    seen: list[str] = []
    query: dict[str, str] = {"order": order, "limit": str(LIMIT)}
    with serving(log, tmp_path) as gateway, asking(gateway) as http:
        there = eventually(lambda: counted(http), lambda count: count >= len(THERE))
        for page in range(2 * len(THERE) // LIMIT):
            answer = http.get("/api/v1/instances", params=query).json()
            seen += [each["instance_id"] for each in answer["instances"]]
            if answer["next"] is None:
                break
            query["after"] = answer["next"]
            # The next page is asked for when the newcomer is in the read model, before, in or behind it.
            log.commit((f"{'az'[page % 2]}-{order}-{page}", "r1", 1, STARTED), at_ms=9_000 + page)
            there += 1
            eventually(lambda: counted(http), there.__eq__)
    assert sorted(name for name in seen if name.startswith("there-")) == THERE
    assert len(seen) == len(set(seen))
