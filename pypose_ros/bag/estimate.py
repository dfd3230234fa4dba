"""What a replay produced: the estimator's outputs as arrays."""
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pypose_core.metric import Trajectory


@dataclass
class Estimate:
    """N outputs at the rate of the IMU, in the order of their stamps; frames as in nav_msgs/Odometry.

    Shapes: poses (N, 7) T_odom_base, velocities (N, 3) and angular velocities (N, 3) in base_link,
    covariances (N, 6, 6) in ROS order. Biases (M, 6) have stamps of their own.
    """

    stamps_ns: NDArray[np.int64]
    poses: NDArray[np.float64] = field(repr=False)
    velocities: NDArray[np.float64] = field(repr=False)
    angular_velocities: NDArray[np.float64] = field(repr=False)
    pose_covariances: NDArray[np.float64] = field(repr=False)
    twist_covariances: NDArray[np.float64] = field(repr=False)
    bias_stamps_ns: NDArray[np.int64] = field(repr=False)
    biases: NDArray[np.float64] = field(repr=False)
    bias_covariances: NDArray[np.float64] = field(repr=False)
    counters: dict[str, int] = field(default_factory=dict)
    """Measurements by what became of them."""
    events: list[str] = field(default_factory=list)
    """What the estimator had to say, in order."""

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def trajectory(self) -> Trajectory:
        """The outputs whose stamps are later than all before: after a reset stamps may begin again."""
        newest = np.maximum.accumulate(np.concatenate([[-1], self.stamps_ns[:-1]]))
        keep = self.stamps_ns > newest
        return Trajectory(self.stamps_ns[keep], self.poses[keep])
