"""What the controller is to do over its horizon: poses and speeds along the path, in time."""
import numpy as np
from numpy.typing import NDArray

from pypose_core.online.path_tracking.config import PathTrackerConfig
from pypose_core.online.path_tracking.path import ReferencePath, wrapped

GRID = 0.05         # m of the speed profile, at most
BRAKING = 0.6       # share of the acceleration that the profile plans to brake with
FINAL_SPEED = 0.05  # m/s at the very end: the profile alone would approach it ever more slowly


class SpeedProfile:
    """The fastest speed at each place: within the limits, slow enough for curves, able to brake before them.

    Args:
        path: what is driven.
        config: its limits.
        final: m/s at the end.

    Source of the backward pass: Bobrow, Dubowsky and Gibson, "Time-optimal control of robotic manipulators along
    specified paths" (1985).
    """

    def __init__(self, path: ReferencePath, config: PathTrackerConfig, final: float = FINAL_SPEED):
        limits = config.limits
        s = np.linspace(0, path.length, max(int(np.ceil(path.length / GRID)), 1) + 1)
        curvature = np.abs(path.sample(s)[2]) + 1e-6
        v = np.minimum(limits.max_speed, np.minimum(np.sqrt(limits.max_lateral_acceleration / curvature),
                                                    0.8 * limits.max_turn_rate / curvature))
        v[-1] = final
        self._spacing = path.length / (len(s) - 1)
        gain = 2 * BRAKING * limits.max_acceleration * self._spacing
        for i in range(len(v) - 2, -1, -1):
            v[i] = min(v[i], np.sqrt(v[i + 1] ** 2 + gain))
        self._v = v.tolist()

    def __call__(self, s: float) -> float:
        """m/s at s m along the path."""
        at = s / self._spacing
        i = min(max(int(at), 0), len(self._v) - 2)
        t = min(max(at - i, 0.0), 1.0)
        return self._v[i] + t * (self._v[i + 1] - self._v[i])


def advance(profile: SpeedProfile, s: float, v: float, config: PathTrackerConfig, *, limit: float, end: float
            ) -> tuple[NDArray, NDArray]:
    """Arc lengths (N + 1,) and speeds (N + 1,) of the stages.

    Args:
        s, v: where the robot is on the path, and its speed.
        limit: m/s. end: arc length that must not be passed.
    """
    dt, change = config.dt, config.limits.max_acceleration * config.dt
    braking = 2 * BRAKING * config.limits.max_acceleration
    places, speeds = [s], []
    v = max(v, 0.0)
    for _ in range(config.horizon + 1):
        wanted = min(profile(s), limit, (braking * max(end - s, 0.0)) ** 0.5)
        v = min(max(wanted, v - change), v + change)
        s = min(s + dt * v, end)
        places.append(s)
        speeds.append(v if s < end else 0.0)
    return np.array(places[:-1]), np.array(speeds)


def along_path(path: ReferencePath, places: NDArray, speeds: NDArray, heading: float
               ) -> tuple[NDArray, NDArray, NDArray]:
    """Poses (N + 1, 3), speeds (N + 1,) and turn rates (N + 1,) of the stages.

    Args:
        heading: of the robot; the reference's are within half a turn of it.
    """
    points, headings, curvature = path.sample(places)
    headings = headings - headings[0] + heading + wrapped(headings[0] - heading)
    last = places >= path.length - 1e-9
    if last.any():      # from the end of the way on, the goal's own heading
        headings[last] = headings[last] + wrapped(path.goal[2] - headings[last])
    return np.concatenate([points, headings[:, None]], 1), speeds, speeds * curvature


def turning(pose: NDArray, heading: float, count: int) -> tuple[NDArray, NDArray, NDArray]:
    """The same for a robot that turns on the spot."""
    poses = np.tile(pose, (count, 1))
    poses[:, 2] = pose[2] + wrapped(heading - pose[2])
    return poses, np.zeros(count), np.zeros(count)
