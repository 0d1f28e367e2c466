"""A class archive (the JVM's class data sharing): Kafka's 7,000 classes, parsed once per machine.

It halves the time and the CPU of every start. Building one costs a training start and a dump, some 15 s. Java
checks it against class path and jars on use and ignores one that does not fit: a wrong one cannot do harm.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from ops.kafka.broker import BrokerOptions, KafkaBroker
from ops.kafka.distribution import SERVER, Distribution
from ops.kafka.errors import KafkaUnavailable
from ops.kafka.layout import load_or_choose
from ops.kafka.locking import Say, exclusive

DUMP_SECONDS_MAX = 180
# One per Java; each is 60 MB.
ARCHIVES_MAX = 3


def with_archive(
    distribution: Distribution, say: Say
) -> Distribution:  # tidy: each level guards one resource
    """The same, with an archive if there is or can be one; without, Kafka only starts slower."""
    directory = distribution.jars[0].parent
    archive = directory / f"classes-{_fingerprint(distribution)}.jsa"
    try:
        if not archive.exists():
            with exclusive(directory / ".lock", say):
                if not archive.exists():
                    _build(distribution, archive, say)
    except OSError as reason:
        say(f"no class archive ({reason}): Kafka will start slower")
        return distribution
    # An empty file remembers that it could not be built, lest every start tries again.
    return replace(distribution, archive=archive) if archive.stat().st_size else distribution


def _fingerprint(distribution: Distribution) -> str:
    """Of all that Java compares, or a jar fetched again would leave a useless archive in place for ever."""
    java = distribution.java
    jars = [f"{jar}:{jar.stat().st_mtime_ns}" for jar in distribution.jars]
    text = "\n".join([str(java.executable.resolve()), java.description, *jars])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _build(distribution: Distribution, archive: Path, say: Say) -> None:
    say("preparing Kafka's class archive (once per machine and Java, about 15 s)")
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=archive.parent) as staging:
        dumped = Path(staging) / archive.name
        try:
            _dump(distribution, _train(distribution, Path(staging)), dumped)
        except (KafkaUnavailable, subprocess.SubprocessError) as reason:
            say(f"no class archive ({reason}): Kafka will start slower")
            dumped.write_bytes(b"")
        dumped.replace(archive)
    kept = sorted(archive.parent.glob("classes-*.jsa"), key=lambda path: path.stat().st_mtime, reverse=True)
    for outdated in kept[ARCHIVES_MAX:]:
        outdated.unlink()


def _train(distribution: Distribution, staging: Path) -> Path:
    """Start and stop a broker that notes the classes it loads; the file with their names."""
    classes = staging / "classes.list"
    layout = load_or_choose(staging, 1, None)
    options = BrokerOptions(jvm_flags=(f"-XX:DumpLoadedClassList={classes}",))
    broker = KafkaBroker(staging / "broker", layout, layout.nodes[0], options, lambda: distribution)
    try:
        broker.start()
    finally:
        broker.stop()
    return classes


def _dump(distribution: Distribution, classes: Path, archive: Path) -> None:
    flags = ["-Xshare:dump", f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={archive}"]
    command = distribution.command(SERVER, flags, [])
    subprocess.run(command, capture_output=True, check=True, timeout=DUMP_SECONDS_MAX)
