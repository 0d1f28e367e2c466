"""The long-lived Kafka clients of a process, and which of them have lost their Kafka for good.

librdkafka forgets the brokers that an answer about the cluster does not name. Brokers that stood still until
their controller took them for dead name none for a moment, and a client that hears that may be left without
any for ever (librdkafka's issue 5301, open in 2.16). It says nothing, and only a new client helps.

So each client is opened here, and tells by its statistics which brokers it knows. One that knows none, look
after look, while a new client hears of some, is lost.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from engine.kafka.settings import KafkaSettings, open_admin

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
TOLD_EVERY_MS = 3_000
# One look may fall between the loss of all brokers and librdkafka's own return to where it began.
LOOKS = 2
ASK_SECONDS = 3.0
# Who looks for a broker tries the next after a second at most, and consumers always have need of one.
RESTS_US = 20_000_000

Client = Consumer | Producer | AdminClient


class _Broker(msgspec.Struct):
    """Of librdkafka's statistics, what matters here of a broker."""

    state: str
    stateage: int
    source: str


class _Statistics(msgspec.Struct):
    type: str
    brokers: dict[str, _Broker]


class Vitals:
    """What one client tells of itself, in the thread that polls it."""

    def __init__(self) -> None:
        self.is_deaf = False

    def told(self, statistics: str) -> None:
        """Called with what librdkafka gives a `stats_cb`."""
        found = msgspec.json.decode(statistics, type=_Statistics)
        self.is_deaf = _is_deaf(found)


class _Watched(msgspec.Struct):
    """A client, and whom it should hear from."""

    client: Client
    vitals: Vitals
    settings: KafkaSettings
    topic: str
    # Whether nobody else polls it.
    is_unpolled: bool = False
    deaf_looks: int = 0
    is_lost: bool = False


class Clients:
    """Opens clients and watches them, from a thread of its own. All methods may be called by any thread."""

    def __init__(self, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._thread: threading.Thread | None = None
        self._on_lost: Callable[[], None] | None = None

    def begin(self, on_lost: Callable[[], None] | None = None) -> None:
        """Begins to look, if it hasn't yet. `on_lost` hears, in the watching thread, that one is lost."""
        with self._lock:
            self._on_lost = on_lost or self._on_lost
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kafka-clients", daemon=True)
                self._thread.start()

    def consumer(
        self, settings: KafkaSettings, topic: str, *, is_unpolled: bool = False, **config: Any
    ) -> Consumer:
        """Opens one that works with `topic`. `config` is librdkafka's, with underscores for its dots."""
        vitals = Vitals()
        consumer = Consumer(settings.client(**_telling(vitals), **config))
        self._watch(_Watched(consumer, vitals, settings, topic, is_unpolled))
        return consumer

    def producer(self, settings: KafkaSettings, topic: str, **config: Any) -> Producer:
        """Opens one that writes to `topic`."""
        vitals = Vitals()
        producer = Producer(settings.client(**_telling(vitals), **config))
        self._watch(_Watched(producer, vitals, settings, topic))
        return producer

    def admin(self, settings: KafkaSettings, topic: str) -> AdminClient:
        """Opens one. Raises ConfigurationError for a property that librdkafka refuses."""
        vitals = Vitals()
        admin = open_admin(settings, **_telling(vitals))
        self._watch(_Watched(admin, vitals, settings, topic, is_unpolled=True))
        return admin

    def is_lost(self, client: Client) -> bool:
        """Whether it will never hear from Kafka again."""
        watched = self._watched.get(id(client))
        return watched is not None and watched.is_lost

    def dismiss(self, client: Client) -> None:
        """To be called when it is of no more use, before it is closed."""
        with self._lock:
            self._watched.pop(id(client), None)

    def look(self) -> int:
        """Looks at all of them once. Returns how many are newly found lost."""
        with self._lock:
            watched = [each for each in self._watched.values() if not each.is_lost]
        for each in watched:
            if each.is_unpolled:
                # It may be closed by now.
                with suppress(RuntimeError):
                    each.client.poll(0)
            each.deaf_looks = each.deaf_looks + 1 if each.vitals.is_deaf else 0
        lost = [each for each in watched if each.deaf_looks >= LOOKS and _is_kafka_there(each)]
        for each in lost:
            text = (
                "a client of %s (%s) knows no broker any more, though a new one does: it is lost for good "
                "(librdkafka's issue 5301), and replaced"
            )
            log.error(text, each.topic, type(each.client).__name__)
            each.is_lost = True
        return len(lost)

    def _watch(self, watched: _Watched) -> None:
        with self._lock:
            self._watched[id(watched.client)] = watched

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._look_seconds):
            if self.look() and self._on_lost is not None:
                self._on_lost()


# Clients are a process's, as their threads are.
CLIENTS = Clients()


def _telling(vitals: Vitals) -> dict[str, Any]:
    return {"statistics_interval_ms": TOLD_EVERY_MS, "stats_cb": vitals.told}


def _is_deaf(found: _Statistics) -> bool:
    if any(each.state == "UP" for each in found.brokers.values()):
        return False
    # Logical ones are roles, as a group's coordinator, which some broker must play.
    brokers = [each for each in found.brokers.values() if each.source != "logical"]
    if found.type == "consumer":
        return all(each.state == "INIT" and each.stateage >= RESTS_US for each in brokers)
    return not brokers


def _is_kafka_there(watched: _Watched) -> bool:
    """Whether a new client hears of brokers."""
    try:
        return bool(open_admin(watched.settings).list_topics(watched.topic, ASK_SECONDS).brokers)
    except KafkaException:
        return False
