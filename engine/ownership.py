"""Who owns a directory. The kernel lets go of the lock when the process ends, however it ends."""

import fcntl
import os
import weakref
from pathlib import Path

from engine.errors import ConfigurationError

LOCK_FILE = "owner.lock"
PID_DIGITS_MAX = 20

_held: "weakref.WeakSet[OwnerLock]" = weakref.WeakSet()


class OwnerLock:
    """The exclusive right to own something in a directory, until `release`."""

    def __init__(self, directory: Path, what: str, file: str = LOCK_FILE) -> None:
        """`what` is that something, as a sentence names it; `file` is the one that is locked for it.

        Raises ConfigurationError, with the pid of the process that has it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(directory / file, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, PID_DIGITS_MAX, 0).decode("ascii", "replace").strip()
            self._close()
            message = (
                f"expected to be the only owner of {what} in {directory}, "
                f"but process {holder or 'unknown'} has it; stop that process or use another directory"
            )
            raise ConfigurationError(message) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Lets another process own the directory. May be called twice."""
        if self._descriptor >= 0:
            # Nobody is to be shown as its owner meanwhile.
            os.ftruncate(self._descriptor, 0)
        self.forget()

    def forget(self) -> None:
        """Closes it in this process, which does not own it: one that was forked."""
        _held.discard(self)
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def holder_of(directory: Path) -> int | None:
    """The process that owns the directory, None where none does. To be shown: to own it, take the lock."""
    try:
        # To try the lock would keep an owner out that begins at that moment.
        holder = int((directory / LOCK_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    try:
        os.kill(holder, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        # It is somebody else's, and lives.
        pass
    return holder


def _forget_in_child() -> None:
    # A forked child shares the lock: an orphan of a killed owner would keep its successor out.
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)
