"""The topics of an app from one table: what each must be, created where missing, checked at every start."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not declared so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from typing_extensions import override

from engine.codec.topics import Topics, topics_of
from engine.errors import ConfigurationError, EngineError, LogUnavailableFault
from engine.kafka.errors import error_of, fault_of
from engine.kafka.settings import KafkaSettings, open_admin
from engine.partition.ports import Identity

log = logging.getLogger(__name__)

MINUTE_MS = 60 * 1000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
TOPIC_BYTES_MAX = 2 * 1024 * 1024
COMMANDS_BYTES_MAX = 1_048_588
REPLICATION = 3
MIN_ISR = 2
# Questions that may go to a broker that is gone begin with a short try, and each next one is longer.
FIRST_TRY_S = 1.0
WAITED_CODES = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT})
TRANSACTION_STATE = "__transaction_state"
EXISTENCE = "existence"
PARTITIONS = "partitions"


class TopicSpec(msgspec.Struct, frozen=True):
    """One topic: its name, how many partitions (None: as many as it has), and the settings that must hold."""

    name: str
    partitions: int | None
    configs: dict[str, str]


class Difference(msgspec.Struct, frozen=True):
    """What a topic is, and what it should be."""

    topic: str
    setting: str
    expected: str
    found: str

    @override
    def __str__(self) -> str:
        return f"{self.topic}: expected {self.setting}={self.expected}, but it is {self.found}"


def specs(settings: KafkaSettings, names: Topics) -> tuple[TopicSpec, ...]:
    """The table. Everything the engine's exactness rests on is in it."""
    kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    safe: dict[str, str] = {"unclean.leader.election.enable": "false"}
    if not settings.is_dev:
        safe["min.insync.replicas"] = str(MIN_ISR)
    expiring = safe | {"cleanup.policy": "delete"}
    return (
        TopicSpec(
            names.commands,
            None,
            # Trimmed by the ingress behind its group offset: nothing that was not forwarded can expire.
            kept | safe | {"max.message.bytes": str(COMMANDS_BYTES_MAX)},
        ),
        TopicSpec(
            names.inbox,
            settings.partitions,
            kept
            | safe
            | {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(TOPIC_BYTES_MAX)},
        ),
        TopicSpec(
            names.history,
            settings.partitions,
            safe
            | {
                "cleanup.policy": "compact",
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(TOPIC_BYTES_MAX),
                "max.compaction.lag.ms": str(7 * DAY_MS),
                "delete.retention.ms": str(7 * DAY_MS),
            },
        ),
        TopicSpec(
            names.deadletter,
            None,
            expiring | {"retention.ms": str(30 * DAY_MS), "max.message.bytes": str(TOPIC_BYTES_MAX)},
        ),
        TopicSpec(
            names.replies,
            None,
            # Who asked reads at once. Retention goes by whole segments, so these must be short too.
            expiring | {"retention.ms": str(HOUR_MS), "segment.ms": str(10 * MINUTE_MS)},
        ),
    )


# Whether a commit was one is on record there, so it must be as safe as history.
_SAFE_STATE = {"unclean.leader.election.enable": "false", "min.insync.replicas": str(MIN_ISR)}
# What a broker makes it of, when the first transaction begins.
_SAFE_BROKER = {
    "unclean.leader.election.enable": "false",
    "transaction.state.log.min.isr": str(MIN_ISR),
    "transaction.state.log.replication.factor": str(REPLICATION),
}
_URL_SAFE = str.maketrans("+/", "-_", "=")

# May be set otherwise without harm to exactness: only `apply` cares.
_ADVISED = frozenset({"max.compaction.lag.ms", "segment.ms"})


def unreachable(problem: KafkaException, bootstrap_servers: str) -> EngineError:
    """The exception for a Kafka that doesn't answer, with what its user may look at."""
    fault = fault_of(problem, f"reach Kafka at {bootstrap_servers}")
    if not isinstance(fault, LogUnavailableFault):
        return fault
    remedy = (
        "is it running, and is this its address? bootstrap_servers of a client, --bootstrap-servers or "
        "ENGINE_BOOTSTRAP_SERVERS of a command set it"
    )
    return LogUnavailableFault(f"{fault}; {remedy}")


def refresh_leaders(admin: AdminClient, topic: str, timeout_s: float) -> None:
    """Makes a client ask who leads now, and whom to ask what is no leader's to say. Never raises.

    Listing offsets names the epoch that the client last heard of; being refused doesn't make it ask again.
    """
    with suppress(KafkaException):
        admin.list_topics(topic, timeout_s)


class TopicAdmin:
    """Creates and checks the topics of one app."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._names = topics_of(settings.namespace, settings.app)
        self._admin = open_admin(settings)

    def apply(self) -> list[str]:
        """Creates what is missing; the names of what it created. Changes nothing that exists."""
        settings, created = self._settings, []
        existing = self._existing()
        for spec in specs(settings, self._names):
            if spec.name in existing:
                continue
            topic = NewTopic(
                spec.name,
                num_partitions=spec.partitions or min(4, settings.partitions),
                replication_factor=1 if settings.is_dev else REPLICATION,
                config=spec.configs,
            )
            self._create(topic)
            created.append(spec.name)
        if created:
            self._await_leaders(created)
        return created

    def check(self) -> list[Difference]:
        """Every way in which the topics are not what they must be."""
        existing = self._existing()
        differences: list[Difference] = []
        for spec in specs(self._settings, self._names):
            if spec.name not in existing:
                differences.append(Difference(spec.name, EXISTENCE, "a topic", "missing"))
            else:
                differences.extend(self._differences(spec))
        if not self._settings.is_dev:
            differences.extend(self._differences_of_transactions(TRANSACTION_STATE in existing))
        return differences

    def identity(self) -> Identity:
        """The topics' ids.

        Raises ConfigurationError, naming each difference, where the topics are not safe.
        """
        differences = self.check()
        if differences:
            lines = "\n  ".join(str(each) for each in differences)
            remedy = self._remedy(differences)
            message = f"the topics of app {self._settings.app!r} are not safe:\n  {lines}\n{remedy}"
            raise ConfigurationError(message)
        names = self._names
        wanted = [names.commands, names.inbox, names.history]
        found = topic_ids(self._admin, wanted, self._settings.request_timeout_ms)
        return Identity(
            commands_topic_id=found[names.commands],
            inbox_topic_id=found[names.inbox],
            history_topic_id=found[names.history],
            # Just checked to be so.
            partitions=self._settings.partitions,
        )

    def partitions_of(self, topic: str) -> int:
        """How many a topic has that was found to be there."""
        return self._existing()[topic]

    def _remedy(self, differences: list[Difference]) -> str:
        partitions = [each.found for each in differences if each.setting == PARTITIONS]
        others = {each.setting for each in differences} - {PARTITIONS}
        remedies: list[str] = []
        # Of inbox and history: with one of them only, no number would fit both.
        if len(partitions) == 2 and len(set(partitions)) == 1:
            remedies.append(
                f"use --partitions {partitions[0]} (or ENGINE_PARTITIONS), as the topics were made"
            )
        elif partitions:
            remedies.append("inbox and history must have equally many partitions")
        if EXISTENCE in others:
            remedies.append(f"'engine topics apply --app {self._settings.app}' creates missing topics")
        if others - {EXISTENCE}:
            remedies.append("change settings with your cluster's tools")
        if others and not self._settings.is_dev:
            remedies.append("use --dev for a single broker")
        return "; ".join(remedies)

    def _existing(self) -> dict[str, int]:
        try:
            metadata = self._admin.list_topics(timeout=self._settings.request_timeout_ms / 1000)
        except KafkaException as problem:
            raise unreachable(problem, self._settings.bootstrap_servers) from problem
        return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}

    def _differences(self, spec: TopicSpec) -> Iterator[Difference]:
        resource = ConfigResource(ResourceType.TOPIC, spec.name)
        timeout = self._settings.request_timeout_ms / 1000
        described = self._admin.describe_topics(TopicCollection([spec.name]), request_timeout=timeout)
        partitions = described[spec.name].result().partitions
        if spec.partitions is not None and len(partitions) != spec.partitions:
            yield Difference(spec.name, PARTITIONS, str(spec.partitions), str(len(partitions)))
        replication = min(len(partition.replicas) for partition in partitions)
        if not self._settings.is_dev and replication < REPLICATION:
            yield Difference(spec.name, "replication factor", f"at least {REPLICATION}", str(replication))
        yield from self._config_differences(resource, spec.name, spec.configs)

    def _config_differences(
        self, resource: ConfigResource, name: str, expected_configs: dict[str, str]
    ) -> Iterator[Difference]:
        timeout = self._settings.request_timeout_ms / 1000
        configs = self._admin.describe_configs([resource], request_timeout=timeout)[resource].result()
        for setting, expected in expected_configs.items():
            found = configs[setting].value if setting in configs else "unknown"
            if found != expected and setting not in _ADVISED and not _is_stricter(setting, expected, found):
                yield Difference(name, setting, expected, found)

    def _differences_of_transactions(self, is_there: bool) -> Iterator[Difference]:  # noqa: FBT001 -- private
        """Of the topic that Kafka keeps transactions in; where there is none yet, of what it would be."""
        try:
            if is_there:
                yield from self._differences(TopicSpec(TRANSACTION_STATE, None, _SAFE_STATE))
                return
            brokers = self._admin.list_topics(timeout=self._settings.request_timeout_ms / 1000).brokers
            broker = str(min(brokers))
            resource = ConfigResource(ResourceType.BROKER, broker)
            yield from self._config_differences(resource, f"broker {broker}", _SAFE_BROKER)
        except KafkaException as problem:
            fault = fault_of(problem, f"look at {TRANSACTION_STATE}")
            if not isinstance(fault, ConfigurationError):
                raise
            # An operator may keep this right to themselves: then the settings are theirs to look after.
            log.warning("not checked whether %s is safe: %s", TRANSACTION_STATE, fault)

    def _create(self, topic: NewTopic) -> None:
        future = self._admin.create_topics([topic], request_timeout=self._settings.request_timeout_ms / 1000)
        try:
            future[topic.topic].result()
        except KafkaException as problem:
            # Another worker may have been first: then `check` judges what it made.
            if error_of(problem).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise fault_of(problem, f"create topic {topic.topic}") from problem

    def _await_leaders(self, created: list[str]) -> None:
        deadline = time.monotonic() + self._settings.request_timeout_ms / 1000
        while time.monotonic() < deadline:
            topics = self._admin.list_topics(timeout=5).topics
            found = [topics[name] for name in created if name in topics]
            ready = all(p.leader >= 0 for topic in found for p in topic.partitions.values())
            if len(found) == len(created) and ready:
                return
            time.sleep(0.05)
        log.warning("%s: not all partitions have a leader yet", ", ".join(created))


def topic_ids(admin: AdminClient, names: list[str], timeout_ms: int) -> dict[str, str]:
    """The topics' ids by their names. Raises KafkaException when the time is over."""
    deadline = time.monotonic() + timeout_ms / 1000
    patience_s = FIRST_TRY_S
    while True:
        left_s = deadline - time.monotonic()
        try:
            described = admin.describe_topics(
                TopicCollection(names), request_timeout=max(FIRST_TRY_S, min(patience_s, left_s))
            )
            return {name: _written(future.result().topic_id) for name, future in described.items()}
        except KafkaException as problem:
            # The client asks the one broker that it was once told to. Where that is gone it waits for it, and
            # looks for no other by itself until its metadata expires, in five minutes.
            refresh_leaders(admin, names[0], FIRST_TRY_S)
            if error_of(problem).code() not in WAITED_CODES or time.monotonic() > deadline:
                raise
        patience_s *= 2


def _written(topic_id: Uuid) -> str:
    """As Kafka's own tools write it.

    The client's form has `+` and `/`, which no key or header of ours may hold.
    """
    return str(topic_id).translate(_URL_SAFE)


def _is_stricter(setting: str, expected: str, found: str) -> bool:
    """Whether `found` promises even more than what is asked for."""
    at_least = {
        "min.insync.replicas",
        "max.message.bytes",
        "delete.retention.ms",
        "transaction.state.log.min.isr",
        "transaction.state.log.replication.factor",
    }
    if setting == "retention.ms":
        # -1 keeps for ever.
        return found == "-1" or (expected != "-1" and int(found) >= int(expected))
    return setting in at_least and found.isdigit() and int(found) >= int(expected)
