"""One process at a time in a directory; released by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]


def say_on_stderr(text: str) -> None:
    """Progress goes to stderr, for stdout carries the bootstrap address that scripts read."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def exclusive(lock_file: Path, say: Say = say_on_stderr) -> Iterator[None]:
    """Hold the lock of `lock_file`; the file itself stays, since removing it would let two holders in."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that works in {lock_file.parent}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
