"""A trajectory: integer stamps and the poses at them."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses T_a_b of one frame b in one frame a, at strictly increasing stamps.

    Args:
        stamps_ns: (N,) int64, nanoseconds.
        poses: (N, 7) float64, rows [x y z | qx qy qz qw], metres and unit quaternions.

    Raises:
        ValueError: the shapes disagree, a value is not finite, the stamps don't increase, or a
            quaternion is off unit by more than 1e-2; the first row at fault is named.
    """

    stamps_ns: NDArray[np.int64]
    poses: NDArray[np.float64]

    def __post_init__(self):
        stamps = np.asarray(self.stamps_ns)
        poses = np.array(self.poses, dtype=np.float64)
        if stamps.dtype.kind not in 'iu':
            raise ValueError(f'stamps must be integer nanoseconds, got {stamps.dtype}')
        if stamps.ndim != 1 or poses.shape != (len(stamps), 7):
            raise ValueError(f'need stamps (N,) and poses (N, 7), got {stamps.shape} and {poses.shape}')
        bad = np.flatnonzero(~np.isfinite(poses).all(axis=1))
        if len(bad):
            raise ValueError(f'pose {bad[0]} is not finite')
        norm = np.linalg.norm(poses[:, 3:], axis=1)
        bad = np.flatnonzero(np.abs(norm - 1) > 1e-2)
        if len(bad):
            raise ValueError(f'the quaternion of pose {bad[0]} has norm {norm[bad[0]]:.4g}, not 1')
        bad = np.flatnonzero(np.diff(stamps) <= 0)
        if len(bad):
            raise ValueError(f'stamp {bad[0] + 1} ({stamps[bad[0] + 1]}) is not later than the one before')
        poses[:, 3:] /= norm[:, None]      # text files round their quaternions
        object.__setattr__(self, 'stamps_ns', stamps.astype(np.int64))
        object.__setattr__(self, 'poses', poses)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, index) -> 'Trajectory':
        """The poses selected by a slice, a mask or increasing indices."""
        return Trajectory(self.stamps_ns[index], self.poses[index])

    @property
    def positions(self) -> NDArray[np.float64]:
        """(N, 3), metres, in frame a."""
        return self.poses[:, :3]

    @cached_property
    def rotations(self) -> Rotation:
        """N rotations R_a_b."""
        return Rotation.from_quat(self.poses[:, 3:].reshape(-1, 4)) if len(self) else Rotation.identity(0)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last stamp."""
        return float(self.stamps_ns[-1] - self.stamps_ns[0]) * 1e-9 if len(self) else 0.0

    @property
    def distances(self) -> NDArray[np.float64]:
        """(N,) length of the path up to each pose, metres."""
        steps = np.linalg.norm(np.diff(self.positions, axis=0), axis=1)
        return np.concatenate([np.zeros(min(len(self), 1)), np.cumsum(steps)])

    def seconds(self, origin_ns: int | None = None) -> NDArray[np.float64]:
        """(N,) seconds since `origin_ns` (by default since the first stamp), for plots."""
        origin = self.stamps_ns[0] if origin_ns is None else origin_ns
        return (self.stamps_ns - origin) * 1e-9

    def transformed(self, rotation: Rotation, translation: ArrayLike, scale: float = 1.0) -> 'Trajectory':
        """p' = s R p + t and R' = R R_a_b: the same trajectory seen from another frame."""
        poses = np.hstack([scale * rotation.apply(self.positions) + translation,
                           (rotation * self.rotations).as_quat()])
        return Trajectory(self.stamps_ns, poses)

    def interpolated(self, stamps_ns: ArrayLike) -> 'Trajectory':
        """Positions by straight lines, attitudes along geodesics, at stamps inside [first, last]."""
        stamps = np.asarray(stamps_ns, dtype=np.int64)
        if len(stamps) == 0:
            return Trajectory(stamps, np.empty((0, 7)))
        if len(self) < 2 or stamps.min() < self.stamps_ns[0] or stamps.max() > self.stamps_ns[-1]:
            raise ValueError('stamps to interpolate at lie outside the trajectory')
        known, wanted = self.seconds(), (stamps - self.stamps_ns[0]) * 1e-9
        positions = np.stack([np.interp(wanted, known, axis) for axis in self.positions.T], axis=1)
        return Trajectory(stamps, np.hstack([positions, Slerp(known, self.rotations)(wanted).as_quat()]))
