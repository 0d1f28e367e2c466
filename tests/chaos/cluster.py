"""Three brokers, each behind a proxy. Workers come through the proxies, whoever checks them does not."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ops.kafka.broker import BrokerOptions, KafkaBroker
from ops.kafka.cluster import KafkaCluster
from ops.kafka.network import HOST, free_ports
from ops.kafka.properties import SideDoor
from tests.chaos.proxy import Proxy

BROKERS = 3
HEAP = "384m"
# On a loaded machine a broker that is merely slow must not be taken for dead, nor give up its start.
PATIENT = {
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "1000",
    "initial.broker.registration.timeout.ms": "600000",
}
REQUEST_SECONDS = 10


class ChaosCluster:
    """Replication 3, two in-sync replicas needed: any one broker may be away."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(3 * BROKERS)
        listening, behind, before = ports[:BROKERS], ports[BROKERS : 2 * BROKERS], ports[2 * BROKERS :]
        doors = {n: SideDoor(behind[n - 1], before[n - 1]) for n in range(1, BROKERS + 1)}
        options = BrokerOptions(heap=HEAP, settings=PATIENT, side_doors=doors)
        self._cluster = KafkaCluster(directory, BROKERS, ports=listening, options=options)
        self.proxies = [Proxy(port, target) for port, target in zip(before, behind, strict=True)]
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    @property
    def brokers(self) -> tuple[KafkaBroker, ...]:
        return self._cluster.brokers

    @property
    def bootstrap_servers(self) -> str:
        """Past the proxies."""
        return self._cluster.bootstrap_servers

    @property
    def proxied_servers(self) -> str:
        return ",".join(f"{HOST}:{proxy.port}" for proxy in self.proxies)

    def start(self) -> None:
        self._cluster.start()

    def close(self) -> None:
        self._cluster.kill()
        for proxy in self.proxies:
            proxy.close()

    def is_whole(self) -> bool:
        """Whether every partition has all its replicas in sync and a leader, so that another may be lost."""
        if any(broker.pid is None for broker in self.brokers):
            return False
        try:
            metadata = self.admin.list_topics(timeout=REQUEST_SECONDS)
        except Exception:
            # Whatever this was: ask again.
            return False
        partitions = [p for topic in metadata.topics.values() for p in topic.partitions.values()]
        return len(metadata.brokers) == BROKERS and all(
            partition.leader > 0 and len(partition.isrs) == len(partition.replicas)
            for partition in partitions
        )

    def ends(self, topic: str, *, committed: bool) -> dict[int, int]:
        """Where each partition ends; read committed, that is where its first open transaction begins."""
        # A new client: an old one may remember leaders that are no more.
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        count = len(admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions)
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(count)}
        found = admin.list_offsets(asked, isolation_level=isolation, request_timeout=REQUEST_SECONDS)
        return {place.partition: future.result().offset for place, future in found.items()}
