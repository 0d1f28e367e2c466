"""Where an owner is in its life; drawn in `owner.py`. Says nothing of why."""

from enum import Enum


class OwnerStatus(Enum):
    """Where an owner is in its life."""

    FENCING = "fencing"
    CATCHING_UP = "catching up"
    LIVE = "live"
    STOPPING = "stopping"
    CLOSED = "closed"
    LOST = "lost"
