"""The long-lived Kafka clients of a process, and which of them have lost their Kafka for good.

librdkafka forgets the brokers that an answer about the cluster does not name. Brokers that stood still until
their controller took them for dead name none for a moment, and a client that hears that may be left without
any for ever (librdkafka's issue 5301, open in 2.16). It says nothing, and only a new client helps.

So each client is opened here, and tells by its statistics which brokers it knows. One that knows none, look
after look, while a new client hears of some, is lost.
"""

import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from engine.kafka.settings import KafkaSettings, open_admin, refusals

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
TOLD_EVERY_MS = 5_000
# One look may fall between the loss of all brokers and librdkafka's own return to where it began.
LOOKS = 2
ASK_SECONDS = 3.0
# Who has need of a broker tries one or another after a second at most.
RESTS_US = 20_000_000


class _Broker(msgspec.Struct):
    """Of librdkafka's statistics, what matters here of a broker."""

    state: str
    stateage: int
    source: str


class _Partition(msgspec.Struct):
    fetch_state: str = ""


class _Topic(msgspec.Struct):
    partitions: dict[str, _Partition] = {}


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker]
    topics: dict[str, _Topic] = {}


class Vitals:
    """What one client tells of itself, in the thread that polls it. Lives as long as its client."""

    def __init__(self, kind: str, settings: KafkaSettings, topic: str) -> None:
        self.kind = kind
        self.settings = settings
        self.topic = topic
        self.is_deaf = False
        self.deaf_looks = 0
        # Whether the client will never hear from Kafka again.
        self.is_lost = False

    def told(self, statistics: str) -> None:
        """Called with what librdkafka gives a `stats_cb`."""
        # Nothing may be raised here: it would come out of the poll.
        with suppress(msgspec.MsgspecError):
            self.is_deaf = _is_deaf(msgspec.json.decode(statistics, type=_Statistics))


class WatchedConsumer(Consumer):
    """A consumer with its vitals."""

    vitals: Vitals


class WatchedProducer(Producer):
    """A producer with its vitals."""

    vitals: Vitals


class WatchedAdmin(AdminClient):
    """An admin client with its vitals. It tells of itself only where `poll` is called."""

    vitals: Vitals


class Clients:
    """Opens clients and watches them, from a thread of its own. All methods may be called by any thread."""

    def __init__(self, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        # Of those that live: who lets a client go need not say so.
        self._vitals: weakref.WeakSet[Vitals] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._on_lost: Callable[[], None] | None = None

    def begin(self, on_lost: Callable[[], None] | None = None) -> None:
        """Begins to look, if it hasn't yet. `on_lost` hears, in the watching thread, that one is lost."""
        with self._lock:
            self._on_lost = on_lost or self._on_lost
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kafka-clients", daemon=True)
                self._thread.start()

    def consumer(self, settings: KafkaSettings, topic: str, **config: Any) -> WatchedConsumer:
        """Opens one that works with `topic`. `config` is librdkafka's, with underscores for its dots."""
        vitals = Vitals("consumer", settings, topic)
        consumer = WatchedConsumer(settings.client(**_telling(vitals), **config))
        consumer.vitals = self._watch(vitals)
        return consumer

    def producer(self, settings: KafkaSettings, topic: str, **config: Any) -> WatchedProducer:
        """Opens one that writes to `topic`."""
        vitals = Vitals("producer", settings, topic)
        producer = WatchedProducer(settings.client(**_telling(vitals), **config))
        producer.vitals = self._watch(vitals)
        return producer

    def admin(self, settings: KafkaSettings, topic: str) -> WatchedAdmin:
        """Opens one. Raises ConfigurationError for a property that librdkafka refuses."""
        vitals = Vitals("admin client", settings, topic)
        with refusals(settings):
            admin = WatchedAdmin(settings.client(**_telling(vitals)))
        admin.vitals = self._watch(vitals)
        return admin

    def look(self) -> int:
        """Looks at all of them once. Returns how many are newly found lost."""
        with self._lock:
            living = [each for each in self._vitals if not each.is_lost]
        for each in living:
            each.deaf_looks = each.deaf_looks + 1 if each.is_deaf else 0
        lost = [each for each in living if each.deaf_looks >= LOOKS and _is_kafka_there(each)]
        for each in lost:
            text = (
                "a %s of %s knows no broker any more, though a new one does: it is lost for good "
                "(librdkafka's issue 5301), and replaced"
            )
            log.error(text, each.kind, each.topic)
            each.is_lost = True
        return len(lost)

    def _watch(self, vitals: Vitals) -> Vitals:
        with self._lock:
            self._vitals.add(vitals)
        return vitals

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
    """Whether it knows no broker; or tries none of those it is about to forget, though it has need of one."""
    if any(each.state == "UP" for each in found.brokers.values()):
        return False
    # Logical ones are roles, as a group's coordinator, which some broker must play.
    roles = [each for each in found.brokers.values() if each.source == "logical"]
    brokers = [each for each in found.brokers.values() if each.source != "logical"]
    if not brokers:
        return True
    # One that has nothing to do lets its connections go, and rests.
    is_needy = any(each.state != "INIT" for each in roles) or any(
        partition.fetch_state == "active"
        for topic in found.topics.values()
        for partition in topic.partitions.values()
    )
    return is_needy and all(each.state == "INIT" and each.stateage >= RESTS_US for each in brokers)


def _is_kafka_there(vitals: Vitals) -> bool:
    """Whether a new client hears of brokers."""
    try:
        return bool(open_admin(vitals.settings).list_topics(vitals.topic, ASK_SECONDS).brokers)
    except KafkaException:
        return False
