"""Measurements that are ahead of odometry."""
import heapq
import itertools
from collections.abc import Callable, Iterator

CAPACITY = 1000


class Pending:
    """Holds what cannot be placed before odometry has reached its stamp."""

    def __init__(self):
        self._heap: list[tuple[int, int, str, Callable]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, stamp_ns: int, kind: str, insert: Callable[[], object]) -> bool:
        """Keep it; False where too many wait already."""
        if len(self._heap) >= CAPACITY:
            return False
        heapq.heappush(self._heap, (stamp_ns, next(self._count), kind, insert))
        return True

    def due(self, now_ns: int, timeout: float) -> Iterator[tuple[str, Callable | None]]:
        """(kind, insert) of what odometry has reached; insert is None where it did so by a gap longer than the timeout,
        in s."""
        while self._heap and self._heap[0][0] <= now_ns:
            stamp_ns, _, kind, insert = heapq.heappop(self._heap)
            yield kind, insert if now_ns - stamp_ns <= timeout * 1e9 else None
