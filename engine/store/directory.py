"""The directory of one store: ours alone, never a link, and emptied only when nobody else has it open."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import ConfigurationError

DIRECTORY_MODE = 0o700
LOCK_FILE = "LOCK"


def prepare(directory: Path) -> None:
    """Makes the directory, or checks the one that is there. Raises ConfigurationError.

    What is in it will be deleted at the first sign of damage, so it must not lead elsewhere by a link, nor be
    somebody else's.
    """
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        message = f"expected to be able to make the store's directory {directory}, but: {error}"
        raise ConfigurationError(message) from error
    if not stat.S_ISDIR(found.st_mode):
        message = f"expected the store {directory} to be a directory of its own, but it is a link or a file"
        raise ConfigurationError(message)
    if found.st_uid != os.geteuid():
        message = f"expected the store {directory} to be user {os.geteuid()}'s, but it is {found.st_uid}'s"
        raise ConfigurationError(message)
    if stat.S_IMODE(found.st_mode) != DIRECTORY_MODE:
        directory.chmod(DIRECTORY_MODE)


@contextmanager
def kept_from_others(directory: Path) -> Iterator[None]:
    """Holds RocksDB's own lock, so that no other process can open the store meanwhile.

    Raises ConfigurationError where another process has it open. Must not be used on a store that this process
    has open: closing the file would let go of RocksDB's lock too, as POSIX locks are the process's.
    """
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise in_use(directory) from error
        yield
    finally:
        os.close(descriptor)


def in_use(directory: Path) -> ConfigurationError:
    """The refusal for a store that is open already."""
    return ConfigurationError(
        f"expected to be the only one to open the store {directory}, but it is open already; "
        "give every process its own data directory"
    )


def size_bytes(directory: Path) -> int:
    """What the files directly in it take. Counts what it can: they come and go."""
    total = 0
    with suppress(FileNotFoundError):
        for entry in directory.iterdir():
            with suppress(FileNotFoundError):
                total += entry.lstat().st_size
    return total


def empty(directory: Path) -> None:
    """Deletes what is in the directory. Links in it are deleted, not followed."""
    for entry in sorted(directory.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
