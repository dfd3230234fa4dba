"""Threads that the operating system knows: by name, and by how much they may take from others (Linux)."""
import ctypes
import os
import sys
import threading

BACKGROUND = 10     # nice of what may wait: solves, matching, training
_SET_NAME = 15      # of prctl(2)


def name_thread(name: str) -> None:
    """Name the calling thread as `top -H` and debuggers show it; 15 bytes are kept."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_SET_NAME, name.encode()[:15], 0, 0, 0)


def yield_to_others(nice: int = BACKGROUND) -> None:
    """Let the calling thread have the processor only where the others of the process leave it.

    On Linux niceness is a thread's own. A thread that is nicer already stays so.
    """
    if sys.platform == 'linux':
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, max(nice, os.getpriority(os.PRIO_PROCESS, me)))

