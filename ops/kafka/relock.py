"""Writes `jars.lock` anew: `python -m ops.kafka.relock [VERSION]`. For maintainers; needs `mvn`.

After a new version: change `KAFKA_VERSION` in `jars.py` and the image in `docker-compose.kafka.yml` too.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ops.kafka.fetch import pom_of
from ops.kafka.jars import KAFKA_VERSION, LOCK_FILE, sha256_of

# Kafka logs through slf4j 1.7 and depends on log4j-core; without a binding of the same version it is silent.
LOG4J_VERSION = "2.25.4"
LISTED = re.compile(r"^\s+([\w.-]+):([\w.-]+):jar:([\w.-]+):(?:compile|runtime)", re.MULTILINE)


@dataclass(frozen=True)
class Root:
    """A jar whose tree is to be locked."""

    group: str
    artifact: str
    version: str
    file_name: str = ""


def main(kafka_version: str) -> None:
    """Resolve the tree with `mvn`, hash what it delivered, write the lock."""
    roots = (
        Root("org.apache.kafka", "kafka_2.13", kafka_version),
        Root("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
    )
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "pom.xml").write_text(pom_of(roots), encoding="utf-8")
        goals = [
            "dependency:list",
            "-DoutputFile=list.txt",
            "dependency:copy-dependencies",
            "-DoutputDirectory=jars",
        ]
        subprocess.run(
            ["mvn", "--batch-mode", "-q", *goals, "-DincludeScope=runtime"], cwd=directory, check=True
        )
        listed = LISTED.findall(Path(directory, "list.txt").read_text(encoding="utf-8"))
        lines = [
            f"{group}:{artifact}:{version} {sha256_of(Path(directory, 'jars', f'{artifact}-{version}.jar'))}"
            for group, artifact, version in sorted(listed)
        ]
    header = f"# Runtime tree of {roots[0].group}:{roots[0].artifact}:{kafka_version} and a log binding.\n"
    header += "# Written by `python -m ops.kafka.relock`: coordinate, SHA-256; in class path order.\n"
    LOCK_FILE.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} jars locked in {LOCK_FILE}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else KAFKA_VERSION)
