"""`server.properties` of a broker for tests and development.

As in production where the engine could tell the difference (no automatic topics; replication 3 and two
in-sync replicas if there are three brokers), otherwise tuned so that it starts fast and lets no test wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.kafka.layout import Layout, Node
from ops.kafka.network import HOST

Settings = Mapping[str, str]


@dataclass(frozen=True)
class SideDoor:
    """A second port of a broker. Who comes through it is told to use another one from then on: a proxy's."""

    port: int
    advertised_port: int


FAST: Settings = {
    # Few partitions of the internal topics: each is a log to create and to load.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # No waiting for more members, the cleaner's next look, timed out transactions, deleted topics.
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.backoff.ms": "200",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    # A killed broker is let in again only when its old session has ended: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Tests of takeover ask for short sessions; the broker's own minimum is 6 s.
    "group.min.session.timeout.ms": "500",
    # Small: the default is 128 MB of heap for the cleaner alone.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
}


def server_properties(
    layout: Layout, node: Node, data: Path, overrides: Settings, side_door: SideDoor | None = None
) -> str:
    """The file's text; `overrides` win over everything."""
    controllers = ",".join(f"{HOST}:{each.controller_port}" for each in layout.nodes)
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "listeners": f"CLIENT://{HOST}:{node.port},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"CLIENT://{HOST}:{node.port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": controllers,
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        **_replication(len(layout.nodes)),
        **FAST,
    }
    if side_door is not None:
        settings["listeners"] += f",SIDE://{HOST}:{side_door.port}"
        settings["advertised.listeners"] += f",SIDE://{HOST}:{side_door.advertised_port}"
        settings["listener.security.protocol.map"] += ",SIDE:PLAINTEXT"
    settings |= overrides
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _replication(brokers: int) -> Settings:
    replicas = str(brokers)
    in_sync_min = "1" if brokers == 1 else "2"
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync_min,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync_min,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync_min,
    }
