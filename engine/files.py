"""What tells a file from others of its name: a program goes on writing one that was removed under it."""

from pathlib import Path


def inode_of(path: Path) -> int | None:
    """The number of the file that has the name now, None where none has."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
