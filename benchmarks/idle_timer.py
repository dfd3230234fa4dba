"""What the machine itself does: how late a timer is that has nothing else to do, in a process of its own.

Latencies of software that waits for the clock cannot be better than this beside it in the same minutes.
"""
import gc
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

PERIOD = 0.005      # s


@dataclass
class Lateness:
    """s, of a timer's wake-ups."""
    p50: float = float('nan')
    p99: float = float('nan')
    most: float = float('nan')

    def __str__(self) -> str:
        return (f'a plain timer in an idle process beside it is late by p50 {1e3 * self.p50:.2f}, p99 '
                f'{1e3 * self.p99:.2f}, max {1e3 * self.most:.1f} ms')


def _watch(stop, answer) -> None:
    gc.disable()
    late, due = [], time.monotonic()
    while not stop.is_set():
        due = max(due + PERIOD, time.monotonic() - PERIOD)      # what is missed is not caught up
        time.sleep(max(due - time.monotonic(), 0.0))
        late.append(time.monotonic() - due)
    answer.put((*np.percentile(late, (50, 99)).tolist(), max(late)))


@contextmanager
def idle_timer() -> Iterator[Lateness]:
    """A timer ticks beside what is done inside; the numbers are there afterwards."""
    processes = multiprocessing.get_context('spawn')
    stop, answer, lateness = processes.Event(), processes.Queue(), Lateness()
    watcher = processes.Process(target=_watch, args=(stop, answer), daemon=True)
    watcher.start()
    try:
        yield lateness
        stop.set()
        lateness.p50, lateness.p99, lateness.most = answer.get(timeout=30)
    finally:
        stop.set()
        watcher.join(30)
        watcher.kill()
