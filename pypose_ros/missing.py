"""Messages that never came: what a regular source must have sent between two stamps.

The middleware does not tell when it overwrites messages in a queue that ran over (KEEP_LAST).
"""
from collections import deque

MEMORY = 32         # intervals
ENOUGH = MEMORY // 2
ALIKE = 0.25        # of the period, by which the intervals of a regular source differ from a multiple of it
LEAST_ALIKE = 0.8   # of the intervals of a regular source
FAITH = 256         # messages without a single period between two, after which the source is rather a slower one


class Missing:
    """Counts by the stamps of one topic."""

    def __init__(self):
        self._last: int | None = None
        self._intervals: deque[int] = deque(maxlen=MEMORY)
        self._period = 0.0      # ns; 0 = not known
        self._since = 0         # messages since two came a period apart
        self._begun = False

    def before(self, stamp_ns: int) -> int:
        """How many messages seem to be missing between the last stamp and this one; 0 of an irregular source.

        With the answer that follows the first few messages comes what was missing between those.
        """
        last, self._last = self._last, stamp_ns
        if last is None or stamp_ns <= last:
            return 0
        interval = stamp_ns - last
        if len(self._intervals) >= ENOUGH:
            missing = self._judge(interval)
        self._intervals.append(interval)
        if len(self._intervals) < ENOUGH:
            return 0
        if self._begun:
            return missing
        self._begun = True
        return sum(self._judge(each) for each in self._intervals)

    def _judge(self, interval: int) -> int:
        """How many are missing in an interval, after those before it."""
        ordered = sorted(self._intervals)
        low = ordered[len(ordered) // 4]
        single = [each for each in ordered if abs(each - low) <= ALIKE * low]
        period = sum(single) / len(single)
        # While many are lost the intervals of a regular source are multiples of its period, and few are single ones.
        if self._period and self._since < FAITH and period > 1.5 * self._period and self._fits(ordered, self._period):
            period = self._period
        self._period = period
        self._since = 0 if interval <= 1.5 * period else self._since + 1
        if interval <= 1.5 * period or not self._fits(ordered, period):
            return 0
        return round(interval / period) - 1

    @staticmethod
    def _fits(intervals: list[int], period: float) -> bool:
        """Whether nearly all are multiples of the period."""
        alike = sum(abs(each / period - max(1, round(each / period))) <= ALIKE for each in intervals)
        return alike >= LEAST_ALIKE * len(intervals)
