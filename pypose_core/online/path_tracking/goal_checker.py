"""Whether the goal is reached: near enough, turned well enough, standing still."""
import numpy as np
from numpy.typing import NDArray

from pypose_core.online.path_tracking.config import Goal
from pypose_core.online.path_tracking.path import wrapped


class GoalChecker:
    """Once the robot has been near enough it need only turn: leaving the circle by a little does not send it back."""

    SLACK = 1.5     # times the tolerance that turning may carry the robot out again

    def __init__(self, goal: Goal):
        self._goal = goal
        self.near = False
        """Whether the position is reached, and only the heading is left."""

    def reset(self) -> None:
        self.near = False

    def __call__(self, pose: NDArray, twist: NDArray, goal: NDArray, left: float) -> bool:
        """Whether the goal is reached.

        Args:
            pose: (3,) x, y, heading. twist: (3,) m/s, m/s, rad/s. goal: (3,), in the same frame.
            left: m of the path: a way that passes its own goal on the first lap does not end there.
        """
        limits = self._goal
        distance = float(np.hypot(*(pose[:2] - goal[:2])))
        tolerance = limits.xy * (self.SLACK if self.near else 1.0)
        self.near = distance <= tolerance and left <= 2 * limits.xy + 1e-3
        turned = limits.yaw <= 0 or abs(wrapped(pose[2] - goal[2])) <= limits.yaw
        stands = np.hypot(twist[0], twist[1]) <= limits.stopped_speed and abs(twist[2]) <= 2 * limits.stopped_speed
        return self.near and turned and bool(stands)
