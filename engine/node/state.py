"""A worker's place on its machine: a numbered slot of the state directory, and the member id with it.

The slot, its caches and its member id outlive the process, so that a restart finds its partitions and
their caches where it left them. A slot is never shared: the kernel lets go of it when the last process
that has it is gone.
"""

import fcntl
import hashlib
import os
import re
import socket
from pathlib import Path

from engine.errors import ConfigurationError
from engine.store.directory import prepare

SLOTS_MAX = 1_000
HOST_LENGTH_MAX = 100
DIGEST_LENGTH = 8


class Slot:
    """One process's place, until closed or until the process, and those forked from it, have ended."""

    def __init__(self, directory: Path, number: int, descriptor: int) -> None:
        self.number = number
        self.member = _member(directory, number)
        self.directory = directory / f"slot-{number}"
        self._descriptor = descriptor

    def partition_directory(self, partition: int) -> Path:
        """Where the cache of a partition is."""
        prepare(self.directory)
        return self.directory / f"partition-{partition}"

    def close(self) -> None:
        """Lets go of it in this process. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def take_slots(directory: Path, count: int) -> list[Slot]:
    """The `count` lowest free slots of a state directory, which is made where there is none.

    Raises ConfigurationError where the directory can't be used, or has no free slots.
    """
    # A link to a volume is fine, but what is behind it must be ours alone.
    directory = directory.resolve()
    prepare(directory)
    slots: list[Slot] = []
    for number in range(SLOTS_MAX):
        if len(slots) == count:
            return slots
        descriptor = _lock(directory / f"slot-{number}.lock")
        if descriptor is not None:
            slots.append(Slot(directory, number, descriptor))
    for slot in slots:
        slot.close()
    message = (
        f"expected {count} free slots in {directory}, but of {SLOTS_MAX} only {len(slots)} are; stop others"
    )
    raise ConfigurationError(message)


def _lock(path: Path) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        message = f"expected to be able to open {path}, but: {error}"
        raise ConfigurationError(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _member(directory: Path, number: int) -> str:
    """Without the process id, which a restart changes: Kafka would take the process for a new member."""
    host = re.sub(r"[^a-zA-Z0-9._-]", "-", socket.gethostname())[:HOST_LENGTH_MAX]
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:DIGEST_LENGTH]
    return f"{host}-{digest}-{number}"
