"""Whether something periodic keeps its rate."""
import time

LEAST_SHARE = 0.8       # of the wanted rate, below which it is said
LEAST_SPAN = 0.5        # s over which a rate is taken


class Pace:
    """Counts what ought to happen `wanted` times a second.

    Args:
        name: of what happens.
        wanted: Hz.
    """

    def __init__(self, name: str, wanted: float):
        self._name, self._wanted = name, wanted
        self._count, self._since = 0, time.monotonic()
        self._sentence = ''

    def tick(self) -> None:
        self._count += 1

    def check(self) -> str:
        """A sentence with the wanted and the actual rate since the last look, where that is too low; else ''."""
        span = time.monotonic() - self._since
        if span >= LEAST_SPAN:
            actual = self._count / span
            self._count, self._since = 0, time.monotonic()
            slow = actual < LEAST_SHARE * self._wanted and actual + 1 / span < self._wanted
            self._sentence = '' if not slow else (
                f'overrun: {self._name} at {actual:.1f} Hz instead of {self._wanted:g}; the rest is skipped')
        return self._sentence
