"""Watches a simulated clock from the steady one, which neither pauses nor starts late."""
import time
from collections.abc import Callable


class ClockWatch:
    """Tells whether ROS time runs, where it is simulated.

    A node whose timers follow a simulated clock sleeps silently while /clock is absent or paused; this
    is asked from a steady timer and says so.

    Args:
        now_ns: ROS time in nanoseconds; 0 until the first /clock.
        simulated: whether `use_sim_time` is set at present.
        patience: seconds on the steady clock without progress before it is said.
    """

    def __init__(self, now_ns: Callable[[], int], *, simulated: Callable[[], bool], patience: float = 2.0,
                 steady: Callable[[], float] = time.monotonic):
        self._now_ns, self._simulated, self._patience, self._steady = now_ns, simulated, patience, steady
        self._seen, self._since = 0, steady()

    def check(self) -> str:
        """'' while the clock runs, else a sentence that says what is wrong."""
        now, steady = self._now_ns(), self._steady()
        if not self._simulated() or now != self._seen:
            self._seen, self._since = now, steady
            return ''
        if steady - self._since < self._patience:
            return ''
        if now == 0:
            return 'use_sim_time is set but nothing publishes /clock: start the simulator or the bag player'
        return 'the simulated clock stands still: is the simulator or the bag player paused?'
