"""A runnable Kafka: Java, jars and, where it could be built, the class archive that halves the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.kafka.java import Java

FORMAT_TOOL = "kafka.tools.StorageTool"
SERVER = "kafka.Kafka"


@dataclass(frozen=True)
class Distribution:
    """Values only; `prepare.prepare` is what makes one."""

    java: Java
    jars: tuple[Path, ...]
    archive: Path | None = None

    @property
    def class_path(self) -> str:
        """Every jar by name: a class archive is only valid for the literal class path it was made with."""
        return ":".join(str(jar) for jar in self.jars)

    def command(self, main_class: str, jvm_flags: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """The whole command line; the archive goes with it wherever there is one."""
        archive = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive else []
        # Serial: on two cores not to be told from G1 by throughput or tail latency, and has fewer threads.
        java = [str(self.java.executable), "-XX:+UseSerialGC", *archive, *jvm_flags]
        return [*java, "-cp", self.class_path, main_class, *arguments]
