"""Threads that the operating system knows: by name, and by how much they may take from others (Linux)."""
import contextlib
import ctypes
import os
import platform
import struct
import sys
import threading
from pathlib import Path

TURN = 200_000      # ns
LEAST = 19          # nice that gives way to all others
BACKGROUND = 10     # nice of what may wait: solves, matching, training
_SET_NAME = 15      # of prctl(2)


def name_thread(name: str) -> None:
    """Name the calling thread as `top -H` and debuggers show it; 15 bytes are kept."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_SET_NAME, name.encode()[:15], 0, 0, 0)


def take_short_turns(nanoseconds: int = TURN) -> None:
    """Ask for short turns on the processor, for the calling thread and those that it starts; 0: for usual ones.

    Who works for less than a millisecond at a time gets its turn earlier by that, at the expense of those who would
    work on for longer; the share of the processor that is due to each stays. Linux 6.12 and later (EEVDF's request
    size); others take no notice. Real-time policies are left as they are.
    """
    number = {'x86_64': 314, 'aarch64': 274}.get(platform.machine())        # sched_setattr(2)
    if sys.platform == 'linux' and number is not None and os.sched_getscheduler(0) == os.SCHED_OTHER:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        attributes = struct.pack('IIQiIQQQ', 48, os.SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def yield_to_all() -> None:
    """Let the calling thread have a processor only while nothing else wants it (SCHED_IDLE), and its process step back.

    For a process of its own: where threads share an interpreter, one that waits for a processor with it in its hands
    would hold up the others. Where the kernel groups processes by session (sched_autogroup), priorities count within
    the session only; the process that leads one, as a service's does, has the whole of it give way.
    """
    if sys.platform == 'linux':
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        if os.getsid(0) == os.getpid():
            with contextlib.suppress(OSError):      # a kernel that does not group
                Path('/proc/self/autogroup').write_text(str(LEAST))


def yield_to_others(nice: int = BACKGROUND) -> None:
    """Let the calling thread have the processor only where the others of the process leave it.

    On Linux niceness is a thread's own. A thread that is nicer already stays so.
    """
    if sys.platform == 'linux':
        take_short_turns(0)
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, max(nice, os.getpriority(os.PRIO_PROCESS, me)))

