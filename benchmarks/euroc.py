"""EuRoC recordings as arrays, and noisy pose corrections drawn from their ground truth.

V1_01_easy's published 200 Hz poses carry an attitude error of 5.5 degrees (their mean specific force is
not vertical); its corrected 20 Hz states are used. MH_01_easy has poses alone: its velocity is the central
difference of the positions over 50 ms.
"""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

SEQUENCES = ('V1_01_easy', 'MH_01_easy')


@dataclass(frozen=True)
class Recording:
    """One sequence; world z up, the body is the IMU."""

    name: str
    imu_stamps: np.ndarray
    """(N,) int64 ns"""
    imu: np.ndarray
    """(N, 6) angular rate rad/s, specific force m/s²"""
    truth_stamps: np.ndarray
    """(M,) int64 ns, each one also an IMU stamp"""
    truth_pose: np.ndarray
    """(M, 7) T_world_imu, [t, q]"""
    truth_velocity: np.ndarray
    """(M, 3) in the world frame, m/s; NaN where it is not known"""


def _rows(path: Path, separator: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Stamps as integer nanoseconds (they exceed what a double can hold) and the other columns."""
    lines = [line.split(separator) for line in path.read_text().splitlines() if line and line[0] != '#']
    stamps = []
    for first, *_ in lines:
        whole, _, fraction = first.partition('.')
        stamps.append(int(whole) * 10 ** 9 + int(fraction.ljust(9, '0')) if fraction else int(whole))
    return np.array(stamps, dtype=np.int64), np.array([[float(x) for x in row[1:]] for row in lines])


def load(folder: Path) -> Recording:
    """Read a sequence's folder; truth at stamps without an IMU sample within 0.1 ms is left out."""
    imu_stamps, imu = _rows(folder / 'imu0.csv', ',')
    states = folder / 'gt_state_20hz.csv'
    if states.exists():
        stamps, columns = _rows(states, ',')
        pose, velocity = columns[:, [0, 1, 2, 4, 5, 6, 3]], columns[:, 7:10]
    else:
        stamps, pose = _rows(folder / 'gt_pose_200hz_tum.txt', None)
        velocity = np.full((len(stamps), 3), np.nan)
        velocity[5:-5] = (pose[10:, :3] - pose[:-10, :3]) / ((stamps[10:] - stamps[:-10]) * 1e-9)[:, None]
    nearest = np.searchsorted(imu_stamps, stamps - 2_500_000).clip(0, len(imu_stamps) - 1)
    near = np.abs(imu_stamps[nearest] - stamps) < 100_000
    return Recording(folder.name, imu_stamps, imu, imu_stamps[nearest[near]], pose[near], velocity[near])


def corrections(recording: Recording, *, rate: float = 10.0, sigma_position: float = 0.02,
                sigma_rotation: float = np.radians(0.5), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (K,) and poses (K, 7): truth thinned to `rate` Hz, with white noise on each axis.

    Position in the world's axes, rotation R_world_imu Exp(noise).
    """
    stamps = recording.truth_stamps
    due = np.unique(np.searchsorted(stamps, np.arange(stamps[0], stamps[-1], int(1e9 / rate)) - 100_000))
    noise = np.random.default_rng(seed).normal(size=(len(due), 6))
    pose = recording.truth_pose[due]
    position = pose[:, :3] + sigma_position * noise[:, :3]
    rotation = Rotation.from_quat(pose[:, 3:]) * Rotation.from_rotvec(sigma_rotation * noise[:, 3:])
    return stamps[due], np.hstack([position, rotation.as_quat()])
