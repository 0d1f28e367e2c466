"""`python -m ops.kafka up|down|status|fetch`: a background Kafka for development."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ops.kafka.broker import BrokerOptions
from ops.kafka.cluster import KafkaCluster
from ops.kafka.errors import ClusterMismatch, KafkaUnavailable
from ops.kafka.jars import KAFKA_VERSION
from ops.kafka.layout import BROKER_COUNTS
from ops.kafka.layout import FILE_NAME as LAYOUT_FILE
from ops.kafka.locking import exclusive
from ops.kafka.prepare import prepare

DEFAULT_DIRECTORY = Path(".kafka")
DEFAULT_PORT = 9092


def main(arguments: list[str] | None = None) -> int:
    """Stdout is for scripts: its last line is the bootstrap address. Progress and errors go to stderr."""
    parsed = _parser().parse_args(arguments)
    try:
        return _run(parsed)
    except KafkaUnavailable as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1


def _run(parsed: argparse.Namespace) -> int:
    if parsed.command == "fetch":
        prepare()
        return 0
    if parsed.command == "status":
        return _status(parsed.dir)
    with exclusive(parsed.dir / ".lock"):
        if parsed.command == "down":
            return _down(parsed.dir)
        return _up(parsed.dir, parsed.port, parsed.brokers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.kafka", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser(
        "up", help="start it, or say that it runs; the last line is its bootstrap address"
    )
    down = commands.add_parser("down", help="stop it; its data stays")
    status = commands.add_parser("status", help="does it run? Exit status 3 if not")
    commands.add_parser("fetch", help="only fetch and verify what it needs")
    for command in (up, down, status):
        command.add_argument(
            "--dir", type=Path, default=DEFAULT_DIRECTORY, help="its data and logs (%(default)s)"
        )
    up.add_argument("--port", type=int, help=f"of the first broker; {DEFAULT_PORT} at the first start")
    up.add_argument("--brokers", type=int, choices=BROKER_COUNTS, help="1 at the first start")
    return parser


def _up(directory: Path, port: int | None, brokers: int | None) -> int:
    options = BrokerOptions(is_leashed=False)
    cluster = KafkaCluster(directory, brokers, options=options)
    running = [broker for broker in cluster.brokers if broker.pid is not None]
    if running and port not in {None, cluster.brokers[0].node.port}:
        raise ClusterMismatch(
            f"a Kafka runs in {cluster.directory} on {cluster.bootstrap_servers}, but port {port} was "
            "asked for: stop it first with `down`."
        )
    if len(running) == len(cluster.brokers):
        print(f"Kafka is already running in {cluster.directory}")
    else:
        first_port = port or (None if (directory / LAYOUT_FILE).is_file() else DEFAULT_PORT)
        ports = range(first_port, first_port + len(cluster.brokers)) if first_port else None
        cluster = KafkaCluster(directory, brokers, ports=ports, options=options)
        cluster.start()
        print(f"Kafka {KAFKA_VERSION} runs in {cluster.directory}; logs: {cluster.brokers[0].log}")
    print(cluster.bootstrap_servers)
    return 0


def _down(directory: Path) -> int:
    cluster = KafkaCluster(directory)
    if all(broker.pid is None for broker in cluster.brokers):
        print(f"no Kafka runs in {cluster.directory}")
        return 0
    cluster.stop()
    print(f"stopped; the data stays in {cluster.directory}")
    return 0


def _status(directory: Path) -> int:
    cluster = KafkaCluster(directory)
    for broker in cluster.brokers:
        state = f"runs, pid {broker.pid}" if broker.pid is not None else "does not run"
        print(f"broker {broker.node.node_id} on {broker.bootstrap_servers} {state}; log: {broker.log}")
    if any(broker.pid is None for broker in cluster.brokers):
        return 3
    print(cluster.bootstrap_servers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
