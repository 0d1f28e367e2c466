"""Who is in a cluster and where it listens: chosen once and kept in `cluster.json` beside the data.

The controllers' addresses and directory ids are written into the quorum's own log when a directory is
formatted: they must not change afterwards. The ports for clients may.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ops.kafka.errors import ClusterMismatch
from ops.kafka.network import HOST, free_ports

FILE_NAME = "cluster.json"
BROKER_COUNTS = (1, 3)


@dataclass(frozen=True)
class Node:
    """A broker that is a controller too."""

    node_id: int
    port: int
    controller_port: int
    directory_id: str

    @property
    def voter(self) -> str:
        """As the format tool takes it."""
        return f"{self.node_id}@{HOST}:{self.controller_port}:{self.directory_id}"


@dataclass(frozen=True)
class Layout:
    """A whole cluster."""

    cluster_id: str
    nodes: tuple[Node, ...]

    @property
    def bootstrap_servers(self) -> str:
        """Of all nodes."""
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)


def load_or_choose(directory: Path, brokers: int | None, ports: Sequence[int] | None) -> Layout:
    """What the directory holds, moved to `ports` if they are given; or a new layout, not saved yet."""
    file = directory / FILE_NAME
    if not file.is_file():
        return _choose(brokers or 1, ports)
    saved = json.loads(file.read_text(encoding="utf-8"))
    layout = Layout(saved["cluster_id"], tuple(Node(**node) for node in saved["nodes"]))
    if brokers not in {None, len(layout.nodes)}:
        raise ClusterMismatch(
            f"{directory} holds a Kafka of {len(layout.nodes)} broker(s), but {brokers} were asked for: "
            "ask for as many, choose another directory, or stop it and delete the directory."
        )
    if ports is None:
        return layout
    moved = tuple(replace(node, port=port) for node, port in zip(layout.nodes, ports, strict=True))
    return replace(layout, nodes=moved)


def save(layout: Layout, directory: Path) -> None:
    """Whole or not at all: half a layout would orphan the data."""
    temporary = directory / f".{FILE_NAME}"
    temporary.write_text(json.dumps(asdict(layout), indent=2) + "\n", encoding="utf-8")
    temporary.replace(directory / FILE_NAME)


def _choose(brokers: int, ports: Sequence[int] | None) -> Layout:
    if brokers not in BROKER_COUNTS:
        raise ClusterMismatch(f"a Kafka of {brokers} brokers is not offered: choose one of {BROKER_COUNTS}.")
    taken = free_ports(2 * brokers)
    nodes = zip(ports or taken[:brokers], taken[brokers:], strict=True)
    return Layout(
        _random_id(),
        tuple(
            Node(number, port, controller, _random_id()) for number, (port, controller) in enumerate(nodes, 1)
        ),
    )


def _random_id() -> str:
    """Kafka's form of a UUID. Never with a leading dash, which a command line takes for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
