"""Where the robot will be when a command that is given now takes effect: the commands under way are replayed."""
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

KEPT_NS = 2_000_000_000


def moved(pose: NDArray, twist: NDArray, dt: float) -> NDArray[np.float64]:
    """The pose (3,) after dt at a constant body twist (3,): exact."""
    (x, y, heading), (ahead, aside, turn) = pose.tolist(), twist.tolist()
    half = 0.5 * turn * dt
    chord = dt * (math.sin(half) / half if half else 1.0)
    c, s = math.cos(heading + half) * chord, math.sin(heading + half) * chord
    return np.array([x + c * ahead - s * aside, y + s * ahead + c * aside, heading + turn * dt])


class CommandHistory:
    """Commands with the stamps at which they were given.

    Args:
        delay: s from a command to its effect.
    """

    def __init__(self, delay: float):
        self._delay_ns = round(delay * 1e9)
        self._given: deque[tuple[int, NDArray]] = deque()

    def clear(self) -> None:
        self._given.clear()

    def add(self, stamp_ns: int, twist: NDArray) -> None:
        if self._given and stamp_ns < self._given[-1][0]:
            self._given.clear()     # the clock jumped back
        self._given.append((stamp_ns, twist))
        while self._given[0][0] < stamp_ns - KEPT_NS:
            self._given.popleft()

    def predict(self, stamp_ns: int, pose: NDArray, twist: NDArray, now_ns: int) -> NDArray[np.float64]:
        """The pose (3,) at now + delay, from one at `stamp_ns` that moved at a body twist (3,)."""
        at, end = stamp_ns, now_ns + self._delay_ns
        for given_ns, command in self._given:
            effect = given_ns + self._delay_ns
            if effect > end:
                break
            if effect > at:
                pose, at = moved(pose, twist, (effect - at) * 1e-9), effect
            twist = command
        return moved(pose, twist, (end - at) * 1e-9) if end > at else pose
