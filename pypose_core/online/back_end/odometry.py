"""Odometry on its way into the graph: recent poses for interpolation, and links between keyframes."""
from bisect import bisect_left, bisect_right
from collections import deque

import numpy as np
from numpy.typing import NDArray

from pypose_core.online import correction
from pypose_core.online.correction import (
    MAX_COVARIANCE,
    check_pose,
    inverse,
    quaternion_product,
    rotation_matrix,
)
from pypose_core.online.edge_models import OdometryModel
from pypose_core.online.initialization import hat
from pypose_core.online.verdict import Verdict

MEMORY = 2000       # poses; at 200 Hz ten seconds, at 10 Hz three minutes
LEAP_SPAN = 2.0     # s of silence in which odometry may have gone on; after more it was rather restarted
LEAP_MARGIN = 0.5   # m


def compose(T_a_b: NDArray, T_b_c: NDArray) -> NDArray:
    """T_a_c (7,) with a quaternion of unit length: in a session of hours rounding would grow exponentially, since each
    solve moves what the last one moved."""
    T_a_c = correction.compose(T_a_b, T_b_c)
    T_a_c[3:] /= np.linalg.norm(T_a_c[3:])
    return T_a_c


def angle_of(q: NDArray) -> float:
    """Rotation angle of a quaternion x y z w, rad in [0, pi]."""
    return 2 * float(np.arctan2(np.linalg.norm(q[:3]), abs(q[3])))


def check_odometry(T_odom_base: NDArray, covariance: NDArray | None) -> Verdict:
    """Whether a pose (7,) and its covariance (6, 6), None = unknown, can be used at all."""
    verdict = check_pose(T_odom_base)
    if not verdict.accepted or covariance is None:
        return verdict
    if not np.isfinite(covariance).all():
        return Verdict.NOT_FINITE
    return Verdict.BAD_COVARIANCE if np.abs(covariance).max() > MAX_COVARIANCE else verdict


def leap(before: NDArray, after: NDArray, elapsed: float, max_speed: float) -> float:
    """m by which odometry left its way between two poses (7,) that are `elapsed` s apart, 0 where it may have driven.

    Args:
        max_speed: m/s.
    """
    way = float(np.linalg.norm(after[:3] - before[:3]))
    return way if way > max_speed * min(elapsed, LEAP_SPAN) + LEAP_MARGIN else 0.0


class OdometryBuffer:
    """The last poses T_odom_base, with look-up at any stamp between them.

    Where odometry leaps a new frame begins: poses before and after have nothing to do with each other.
    """

    def __init__(self):
        self._stamps: deque[int] = deque(maxlen=MEMORY)
        self._poses: deque[NDArray] = deque(maxlen=MEMORY)
        self._leaps: deque[int] = deque(maxlen=MEMORY)

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def newest_ns(self) -> int:
        return self._stamps[-1] if self._stamps else 0

    def append(self, stamp_ns: int, pose: NDArray, *, leapt: bool = False) -> None:
        """The newest pose; `leapt`: it is the first of a new frame."""
        self._stamps.append(stamp_ns)
        self._poses.append(pose)
        if leapt:
            self._leaps.append(stamp_ns)

    def frame(self, stamp_ns: int) -> int:
        """Number of the frame that a stamp belongs to."""
        return bisect_right(self._leaps, stamp_ns)

    def at(self, stamp_ns: int, tolerance_ns: int) -> NDArray | None:
        """T_odom_base (7,) at a stamp, in the frame of that time, interpolated (position linearly, attitude by slerp);
        None where the nearest pose is farther away than the tolerance."""
        stamps, frame = self._stamps, self.frame(stamp_ns)
        k = bisect_left(stamps, stamp_ns)
        around = [j for j in (k - 1, k) if 0 <= j < len(stamps) and self.frame(stamps[j]) == frame]
        if len(around) == 2 and stamps[k] - stamps[k - 1] <= 2 * tolerance_ns:
            share = (stamp_ns - stamps[k - 1]) / (stamps[k] - stamps[k - 1])
            return interpolate(self._poses[k - 1], self._poses[k], share)
        nearest = min(around, key=lambda j: abs(stamps[j] - stamp_ns), default=None)
        if nearest is None or abs(stamps[nearest] - stamp_ns) > tolerance_ns:
            return None
        return self._poses[nearest]

    def nearest(self, stamps_ns: NDArray, stamp_ns: int, tolerance_ns: int) -> tuple[int | None, NDArray | None]:
        """Which of the stamps (N,), ascending, is nearest to one, of those to which odometry leads from there if there
        are any, and T_odom_base (7,) at `stamp_ns`. Without that pose only a stamp within the tolerance is near."""
        if not len(stamps_ns):
            return None, None
        after, frame = int(np.searchsorted(stamps_ns, stamp_ns)), self.frame(stamp_ns)
        row = min((r for r in (after - 1, after) if 0 <= r < len(stamps_ns)),
                  key=lambda r: (self.frame(int(stamps_ns[r])) != frame, abs(int(stamps_ns[r]) - stamp_ns)))
        then = self.at(stamp_ns, tolerance_ns) if self.frame(stamps_ns[row]) == frame else None
        near = then is not None or abs(int(stamps_ns[row]) - stamp_ns) <= tolerance_ns
        return (row if near else None), then


def interpolate(a: NDArray, b: NDArray, share: float) -> NDArray:
    """Pose (7,) between two, at `share` in [0, 1] of the way."""
    q = quaternion_product(a[3:] * [-1, -1, -1, 1], b[3:])
    q = q if q[3] >= 0 else -q
    sine = np.linalg.norm(q[:3])
    half = np.arctan2(sine, q[3]) * share
    step = np.append(q[:3] * (np.sin(half) / sine if sine > 1e-12 else share), np.cos(half))
    turned = quaternion_product(a[3:], step)
    return np.append(a[:3] + share * (b[:3] - a[:3]), turned / np.linalg.norm(turned))


def link(T_odom_a: NDArray, T_odom_b: NDArray, covariance_a: NDArray | None, covariance_b: NDArray | None,
         sigma: tuple[float, float], drift: tuple[float, float], *, seconds: float = 0.0,
         model: OdometryModel | None = None) -> tuple[NDArray, NDArray]:
    """What odometry says about the way from keyframe a to b.

    Where the source lets its covariance grow, the growth is the increment's. Sources that repeat one matrix for all
    time, or none, say nothing about an increment: then the sigmas and the way decide. A learned model overrules both.

    Args:
        covariance_a, covariance_b: (6, 6) in ROS order, about odom's fixed axes, or None.
        seconds: from a to b.
    Returns:
        T_a_b (7,) and the information (6, 6) of Log(T_a_b^-1 X_a^-1 X_b), in b's axes.
    """
    T_a_b = compose(inverse(T_odom_a), T_odom_b)
    information = _stated(T_odom_b, T_a_b, covariance_a, covariance_b, sigma, drift)
    return T_a_b, information if model is None else model(T_a_b, seconds, information)


def _stated(T_odom_b: NDArray, T_a_b: NDArray, covariance_a: NDArray | None, covariance_b: NDArray | None,
            sigma: tuple[float, float], drift: tuple[float, float]) -> NDArray:
    """(6, 6) information by the covariances where they tell, else by the sigmas."""
    grown = None if covariance_a is None or covariance_b is None else covariance_b - covariance_a
    if grown is not None and np.linalg.eigvalsh(grown)[0] > 0:
        axes = np.kron(np.eye(2), rotation_matrix(T_odom_b[3:]).T)
        return np.linalg.inv(axes @ grown @ axes.T)
    way, turn = float(np.linalg.norm(T_a_b[:3])), angle_of(T_a_b[3:])
    translation = sigma[0] + drift[0] * way
    rotation = sigma[1] + drift[1] * (turn + 0.1 * way)
    return np.diag([translation ** -2] * 3 + [rotation ** -2] * 3)


def carried(covariance: NDArray, T_map_a: NDArray, T_map_b: NDArray, information: NDArray) -> NDArray:
    """Covariance (6, 6) of keyframe b's pose from that of a's, both in ROS order about the map's axes.

        P_b = F P_a F' + A inv(Omega) A',   F = [I  -[p_b - p_a]x; 0  I],   A = diag(R_b, R_b)

    Args:
        information: (6, 6) of the link between them, in b's axes.
    """
    F, A = np.eye(6), np.kron(np.eye(2), rotation_matrix(T_map_b[3:]))
    F[:3, 3:] = -hat(T_map_b[:3] - T_map_a[:3])
    return F @ covariance @ F.T + A @ np.linalg.inv(information) @ A.T
