"""Ties a process to its parent, so that none is left that nobody stops. Knows nothing of what they do."""

import ctypes
import os
import signal
import sys

ORPHANED_EXIT = 1
PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> bool:
    """Has the kernel kill this process when its parent ends, however that ends. False where it can't.

    By the kernel, so also a process that is stopped, or deep in C code. The parent must have started it
    from a thread that lives as long as the parent.
    """
    if sys.platform != "linux":
        return False
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ORPHANED_EXIT)
    return True
