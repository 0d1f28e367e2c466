"""What one client was told, its next read shows: also where an answer is here before the history it is of.

The markers of one transaction reach its partitions one by one, and nothing orders the one of `replies` behind
that of `history`. So the log is written by hand: its commit becomes visible when the test says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest

from engine.codec.avro import encode_reply
from engine.codec.topics import REPLY_TO_HEADER, parse_reply_to, partition_of
from engine.gateway import service
from engine.gateway.server import Gateway
from engine.model import events as ev
from engine.model.reply import Reply
from engine.partition.ports import Headers, Record
from engine.projection.fold import Folder
from tests.client.running import eventually
from tests.gateway.conftest import WAIT_S, asking, serving
from tests.gateway.test_dapr import error, root
from tests.projection.made_log import MadeLog, MadeTail

INSTANCE = "order-1"


class Answering(MadeLog):
    """Its owner accepts every start at once; the history of that waits until `show` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.replies = MadeLog(1)
        self.show: Callable[[], None] | None = None
        self.answered = threading.Event()

    def publish_lone(self, key: bytes, value: bytes, headers: Headers) -> Future[None]:
        to = parse_reply_to(dict(headers)[REPLY_TO_HEADER])
        assert to is not None
        partition = partition_of(key.decode(), self.partitions)
        reply = Reply(
            requester=to.requester,
            request_id=to.request_id,
            instance_id=key.decode(),
            is_accepted=True,
            reason="",
            detail="",
            partition=partition,
            # Behind the event and its checkpoint.
            position=self.ends_at[partition] + 2,
        )
        self.show = lambda: self.commit((key.decode(), "r1", 1, ev.InstanceStarted(workflow="order")))
        record = Record(0, self.replies.ends_at[0], 1_000, to.request_id.encode(), encode_reply(reply))
        with self.replies.changed:
            self.replies.history[0].append(record)
            self.replies.ends_at[0] += 1
            self.replies.changed.notify_all()
        self.answered.set()
        taken: Future[None] = Future()
        taken.set_result(None)
        return taken

    def reply_ends(self, requester: str) -> dict[int, int]:
        return self.replies.ends()

    def open_reply_tail(self) -> MadeTail:
        return MadeTail(self.replies)


@pytest.fixture
def log() -> Answering:
    return Answering()


@pytest.fixture
def gateway(log: Answering, tmp_path: Path):
    with serving(log, tmp_path, command_wait_s=WAIT_S) as gateway:
        eventually(lambda: gateway.service.is_connected, bool)
        yield gateway


def start(http: httpx.Client) -> httpx.Response:
    return http.post(f"{root()}/order/start", params={"instanceID": INSTANCE})


def test_an_answer_waits_for_the_history_that_it_speaks_of(log: Answering, gateway: Gateway, monkeypatch):
    monkeypatch.setattr(service, "FRESH_WAIT_S", WAIT_S)
    found: list[httpx.Response] = []
    with asking(gateway) as http:
        asked = threading.Thread(target=lambda: found.append(start(http)))
        asked.start()
        assert log.answered.wait(WAIT_S)
        # The reply has been read, and its caller is not told yet.
        eventually(lambda: len(gateway.service.feed.reach._waiting), (1).__eq__)
        assert not found
        log.show()
        asked.join(WAIT_S)
        assert found[0].status_code == 202
        assert http.get(f"{root()}/{INSTANCE}").json()["runtimeStatus"] == "RUNNING"
        rows = http.get("/api/v1/instances").json()["instances"]
        assert [row["instance_id"] for row in rows] == [INSTANCE]


def test_where_that_history_does_not_come_no_read_takes_back_what_was_told(
    log: Answering, gateway: Gateway, monkeypatch
):
    monkeypatch.setattr(service, "FRESH_WAIT_S", 0.01)
    with asking(gateway) as http:
        assert start(http).status_code == 202
        status, code, message = error(http.get(f"{root()}/{INSTANCE}"))
        assert (status, code) == (500, "ERR_GET_WORKFLOW")
        assert "Kafka has not shown that commit yet" in message
        assert error(http.get(f"/api/v1/instances/{INSTANCE}"))[:2] == (503, "ERR_UNAVAILABLE")
        assert error(http.get(f"/api/v1/instances/{INSTANCE}/history"))[:2] == (503, "ERR_UNAVAILABLE")
        log.show()
        eventually(lambda: http.get(f"{root()}/{INSTANCE}").status_code, (200).__eq__)


def test_a_wait_begins_behind_what_was_told(log: Answering, gateway: Gateway, monkeypatch):
    monkeypatch.setattr(service, "FRESH_WAIT_S", 0.01)
    with asking(gateway) as http:
        assert start(http).status_code == 202
        monkeypatch.setattr(service, "FRESH_WAIT_S", WAIT_S)
        found: list[httpx.Response] = []
        wait = f"/api/v1/instances/{INSTANCE}/wait"
        asked = threading.Thread(target=lambda: found.append(http.get(wait, params={"until": "started"})))
        asked.start()
        eventually(lambda: gateway.service.measures.waits, (1).__eq__)
        log.show()
        asked.join(WAIT_S)
        assert found[0].json()["is_met"] is True


def test_a_list_shows_what_a_wait_has_told(log: Answering, gateway: Gateway, monkeypatch):
    hold, write = threading.Event(), Folder.write

    def held(folder: Folder, positions: object) -> None:
        assert hold.wait(WAIT_S)
        write(folder, positions)

    monkeypatch.setattr(Folder, "write", held)
    monkeypatch.setattr(service, "FRESH_WAIT_S", WAIT_S)
    found: list[httpx.Response] = []
    with asking(gateway) as http:
        wait = f"/api/v1/instances/{INSTANCE}/wait"
        asked = threading.Thread(target=lambda: found.append(http.get(wait, params={"until": "started"})))
        asked.start()
        eventually(lambda: gateway.service.measures.waits, (1).__eq__)
        log.commit((INSTANCE, "r1", 1, ev.InstanceStarted(workflow="order")))
        asked.join(WAIT_S)
        assert found.pop().json()["is_met"] is True

        asked = threading.Thread(target=lambda: found.append(http.get("/api/v1/instances")))
        asked.start()
        # It waits for the read model, which knows nothing yet.
        eventually(lambda: len(gateway.projection._reach._waiting), (1).__eq__)
        hold.set()
        asked.join(WAIT_S)
    assert [row["instance_id"] for row in found[0].json()["instances"]] == [INSTANCE]


def test_of_a_history_that_was_made_anew_nobody_was_told_anything(
    log: Answering, gateway: Gateway, monkeypatch
):
    with asking(gateway) as http:
        monkeypatch.setattr(service, "FRESH_WAIT_S", 0.01)
        assert start(http).status_code == 202
        monkeypatch.setattr(service, "FRESH_WAIT_S", WAIT_S)
        log.show()
        assert http.get(f"{root()}/{INSTANCE}").status_code == 200
        log.make_anew("topic-2")
        eventually(lambda: gateway.service.feed.losses, (1).__eq__)
        assert http.get(f"{root()}/{INSTANCE}").status_code == 404
