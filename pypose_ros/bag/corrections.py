"""Pose corrections: those of the bag, or drawn from ground truth with known noise."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pypose_core.metric import Trajectory

from .errors import BagError


@dataclass(frozen=True)
class Corrections:
    """N corrections: stamps, times of arrival (ns, by the stamps' clock), poses (N, 7) of base_link,
    covariances (N, 6, 6) in ROS order.

    kind: 'pose', absolute in odom; 'odometry', relative from one to the next.
    """

    source: str
    kind: str
    stamps_ns: NDArray[np.int64]
    arrivals_ns: NDArray[np.int64]
    poses: NDArray[np.float64]
    covariances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.stamps_ns)


def draw_corrections(truth: Trajectory, *, rate: float = 10.0, sigma: tuple[float, float] = (0.02, 0.5),
                     seed: int = 0, delay: float = 0.0, source: str = 'ground truth') -> Corrections:
    """Corrections as a good localization would give them: truth at `rate` Hz plus white noise.

    t = t_true + n_t, R = Exp(n_R) R_true, with n_t ~ N(0, sigma[0]^2 I) in metres and n_R ~
    N(0, sigma[1]^2 I) in degrees, both along the fixed axes; the covariance says so. For each instant of a
    grid from the first pose on, the nearest pose of the truth is taken, at its own stamp.

    Args:
        delay: seconds from stamp to arrival.
    """
    if not (rate > 0 and sigma[0] >= 0 and sigma[1] >= 0 and delay >= 0):
        raise BagError(f'corrections need rate > 0, sigma >= 0 and delay >= 0, got {rate}, {sigma}, {delay}')
    first, last = int(truth.stamps_ns[0]), int(truth.stamps_ns[-1])
    grid = first + np.round(np.arange(0, (last - first) * 1e-9 * rate + 1e-9) * (1e9 / rate)).astype(np.int64)
    right = np.searchsorted(truth.stamps_ns, grid).clip(1, max(len(truth) - 1, 1))
    right = right.clip(max=len(truth) - 1)
    left = np.maximum(right - 1, 0)
    nearer_left = np.abs(truth.stamps_ns[left] - grid) <= np.abs(truth.stamps_ns[right] - grid)
    chosen = np.unique(np.where(nearer_left, left, right))

    rng = np.random.default_rng(seed)
    deviation = np.repeat([sigma[0], np.radians(sigma[1])], 3)
    errors = rng.normal(size=(len(chosen), 6)) * deviation
    turned = Rotation.from_rotvec(errors[:, 3:]) * truth.rotations[chosen]
    stamps = truth.stamps_ns[chosen]
    # An exact correction still needs a covariance that can be inverted.
    covariance = np.diag(np.maximum(deviation, 1e-4) ** 2)
    return Corrections(source, 'pose', stamps, stamps + round(delay * 1e9),
                       np.hstack([truth.positions[chosen] + errors[:, :3], turned.as_quat()]),
                       np.tile(covariance, (len(chosen), 1, 1)))
