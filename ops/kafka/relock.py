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
    """Resolve the trees with `mvn`, hash what it delivered, write the lock."""
    trees = (
        Root("org.apache.kafka", "kafka_2.13", kafka_version),
        Root("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
    )
    # Alone: the console producer needs nothing that a broker has not, and its tree is all of Connect.
    tools = (Root("org.apache.kafka", "kafka-tools", kafka_version),)
    jars = sorted(_resolved(trees) | _resolved(tools, "-DexcludeTransitive=true"))
    lines = "".join(f"{group}:{artifact}:{version} {sha256}\n" for group, artifact, version, sha256 in jars)
    header = (
        f"# Runtime tree of {trees[0].group}:{trees[0].artifact}:{kafka_version}, a log binding, the tools.\n"
    )
    header += "# Written by `python -m ops.kafka.relock`: Maven coordinate, SHA-256; in class path order.\n"
    LOCK_FILE.write_text(header + lines, encoding="utf-8")
    print(f"{len(jars)} jars locked in {LOCK_FILE}")


def _resolved(roots: tuple[Root, ...], *flags: str) -> set[tuple[str, str, str, str]]:
    """Coordinate and hash of the roots' jars and, unless `flags` exclude them, of all that they need."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "pom.xml").write_text(pom_of(roots), encoding="utf-8")
        goals = ["dependency:list", "-DoutputFile=list.txt"]
        goals += ["dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime", *flags]
        subprocess.run(["mvn", "--batch-mode", "-q", *goals], cwd=directory, check=True)
        listed = LISTED.findall(Path(directory, "list.txt").read_text(encoding="utf-8"))
        jars = Path(directory, "jars")
        return {
            (group, artifact, version, sha256_of(jars / f"{artifact}-{version}.jar"))
            for group, artifact, version in listed
        }


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else KAFKA_VERSION)
