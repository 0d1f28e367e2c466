"""The contract suite's Kafka: an app of its own on the session's broker."""

import itertools
import os

from confluent_kafka.admin import AdminClient

from engine.codec.topics import topics_of
from engine.kafka.log import KafkaLog
from engine.kafka.reader import read_range
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Log, Record

PARTITIONS = 2
_numbers = itertools.count()


class _Gone:
    """A membership that was left already."""

    def leave(self) -> None:
        """Nothing to leave."""


class KafkaHarness:
    """Topics of their own, and as many members as there are names."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._app = f"contract-{os.getpid()}-{next(_numbers)}"
        self._bootstrap_servers = bootstrap_servers
        self._logs: dict[str, KafkaLog] = {}
        self._topics = topics_of("test", self._app)

    def open_log(self, member: str) -> Log:
        """A static member that comes back has its partitions at once.

        The one before it is left as if killed.
        """
        log = KafkaLog(self._settings(member))
        self._logs[member] = log
        return log

    def close_log(self, log: Log) -> None:
        """Leaves the group."""
        assert isinstance(log, KafkaLog)
        log.close()
        self._logs = {member: each for member, each in self._logs.items() if each is not log}

    def rival_of(self, log: Log) -> Log:
        """Another process that claims what it isn't assigned, as a confused one would.

        It has left the group.
        """
        rival = self._logs.get("rival")
        if rival is None:
            rival = self._logs["rival"] = KafkaLog(self._settings("rival"))
            rival._membership.leave()
        return rival

    def read_back_history(self, partition: int) -> list[Record]:
        """By a read_committed consumer of its own."""
        return self._read(self._topics.history, partition)

    def read_deadletters(self) -> list[Record]:
        """All partitions, in order of time."""
        return self._read_all(self._topics.deadletter)

    def read_replies(self) -> list[Record]:
        """All partitions, in order of time."""
        return self._read_all(self._topics.replies)

    def close(self) -> None:
        """Ends every member."""
        for member, log in self._logs.items():
            if member == "rival":
                log._membership = _Gone()  # type: ignore[assignment]
            log.close()

    def _read_all(self, topic: str) -> list[Record]:
        admin = AdminClient({"bootstrap.servers": self._bootstrap_servers})
        count = len(admin.list_topics(topic).topics[topic].partitions)
        found = [record for partition in range(count) for record in self._read(topic, partition)]
        return sorted(found, key=lambda record: record.timestamp_ms)

    def _read(self, topic: str, partition: int) -> list[Record]:
        from confluent_kafka import Consumer, TopicPartition

        # Up to the high watermark: of what is committed, the last may not be seen yet, and is waited for.
        settings = {"bootstrap.servers": self._bootstrap_servers, "group.id": "bounds"}
        consumer = Consumer(settings | {"isolation.level": "read_uncommitted"})
        try:
            bounds = consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
        finally:
            consumer.close()
        return [
            record
            for batch in read_range(self._settings("reader"), topic, partition, bounds)
            for record in batch
        ]

    def _settings(self, member: str) -> KafkaSettings:
        return KafkaSettings(
            bootstrap_servers=self._bootstrap_servers,
            app=self._app,
            namespace="test",
            member=member,
            partitions=PARTITIONS,
            is_dev=True,
        )
