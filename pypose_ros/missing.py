"""Messages that never came: what a regular source must have sent between two stamps.

The middleware does not tell when it overwrites messages in a queue that ran over (KEEP_LAST).
"""
from collections import deque

MEMORY = 32         # intervals
ALIKE = 0.25        # of the period, by which the intervals of a regular source differ from a multiple of it
LEAST_ALIKE = 0.8   # of the intervals of a regular source


class Missing:
    """Counts by the stamps of one topic."""

    def __init__(self):
        self._last: int | None = None
        self._intervals: deque[int] = deque(maxlen=MEMORY)

    def before(self, stamp_ns: int) -> int:
        """How many messages seem to be missing between the last stamp and this one; 0 of an irregular source."""
        last, self._last = self._last, stamp_ns
        if last is None or stamp_ns <= last:
            return 0
        interval, ordered = stamp_ns - last, sorted(self._intervals)
        self._intervals.append(interval)
        if len(ordered) < MEMORY // 2:
            return 0
        low = ordered[len(ordered) // 4]
        single = [each for each in ordered if abs(each - low) <= ALIKE * low]
        period = sum(single) / len(single)
        # While many are lost the intervals of a regular source are multiples of its period.
        alike = sum(abs(each / period - max(1, round(each / period))) <= ALIKE for each in ordered)
        if interval <= 1.5 * period or alike < LEAST_ALIKE * len(ordered):
            return 0
        return round(interval / period) - 1
