"""The heading of a map from positions that know nothing of headings."""
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pypose_core.online.correction import MAX_COVARIANCE, rotation_matrix
from pypose_core.online.verdict import Verdict

from .odometry import compose

MIN_FIXES = 3


@dataclass(frozen=True)
class Fix:
    """A measured position of a point of a keyframe."""

    row: int
    """of the keyframe table."""
    position: NDArray[np.float64]
    """(3,) in the new map."""
    offset: NDArray[np.float64]
    """(3,) of the point in the keyframe's frame."""
    information: NDArray[np.float64]
    """(3, 3) along the new map's axes."""


def usable_fix_covariance(covariance: NDArray | None, sigma: tuple[float, float]) -> NDArray | Verdict:
    """A positive definite covariance (3, 3) m^2 of a position east, north, up, or why there is none.

    Args:
        covariance: None or zeros = unknown.
        sigma: m, horizontal and vertical, where it is unknown.
    """
    if covariance is None or not np.any(covariance):
        return np.diag(np.square([sigma[0], sigma[0], sigma[1]]))
    if not np.isfinite(covariance).all() or np.abs(covariance).max() > MAX_COVARIANCE or np.linalg.eigvalsh(
            covariance)[0] <= 0:
        return Verdict.BAD_COVARIANCE
    return covariance


@dataclass
class FixAlignment:
    """Collects positions until they span a baseline, in m, and then says how the map lies under them."""

    baseline: float
    fixes: list[Fix] = field(default_factory=list)

    def add(self, fix: Fix, poses: NDArray) -> NDArray | None:
        """T_new_old (7,) about the vertical that lays the keyframes' poses (N, 7) best over the positions, or None
        while it cannot be told."""
        self.fixes.append(fix)
        measured = np.array([fix.position for fix in self.fixes])
        if len(self.fixes) < MIN_FIXES or np.ptp(measured[:, :2], axis=0).max() < self.baseline:
            return None
        ours = np.array([compose(poses[fix.row], np.append(fix.offset, [0, 0, 0, 1]))[:3] for fix in self.fixes])
        a, b = ours - ours.mean(0), measured - measured.mean(0)
        yaw = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a[:, :2] * b[:, :2]).sum())
        T_new_old = np.array([0, 0, 0, 0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])
        T_new_old[:3] = measured.mean(0) - rotation_matrix(T_new_old[3:]) @ ours.mean(0)
        return T_new_old
