"""A planar robot with a mis-calibrated IMU and the keyframes that a pose graph gives of its drive."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pypose_ros.sim.config import miscalibrated

BEGIN_NS = 1_700_000_000_000_000_000
G = 9.80665


@dataclass(frozen=True)
class Drive:
    stamps_ns: NDArray[np.int64]
    imu: NDArray[np.float64]
    keyframes_ns: NDArray[np.int64]
    poses: NDArray[np.float64]
    """(M, 7) T_map_base, with small errors."""


def drive(seconds: float, *, rate: float = 50.0, error: float = 0.03, seed: int = 0, every: float = 1.0) -> Drive:
    """Turns and speeds that change all the time; a keyframe each `every` seconds."""
    rng, n = np.random.default_rng(seed), round(seconds * rate)
    t = np.arange(n) / rate
    turn, speed = 0.5 * np.sin(0.5 * t) + 0.25 * np.sin(0.23 * t + 1), 0.8 + 0.3 * np.sin(0.7 * t)
    heading = np.cumsum(turn) / rate
    way = np.cumsum(speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1), axis=0) / rate
    zero = np.zeros(n)
    rates = np.stack([zero, zero, turn], 1)
    force = np.stack([np.gradient(speed, 1 / rate), speed * turn, zero + G], 1)
    errors = miscalibrated(error)
    noise = np.repeat((errors.gyroscope_noise_density, errors.accelerometer_noise_density), 3) * np.sqrt(rate)
    bias = rng.normal(size=6) * np.repeat((0.01, 0.05), 3)
    imu = np.hstack([rates @ np.array(errors.gyroscope_matrix).T, force @ np.array(errors.accelerometer_matrix).T])
    keys = np.arange(0, n, round(every * rate))
    x, y = (way[keys] + rng.normal(0, 0.01, (len(keys), 2))).T
    half = 0.5 * (heading[keys] + rng.normal(0, 0.003, len(keys)))
    stamps = BEGIN_NS + np.round(t * 1e9).astype(np.int64)
    flat = np.zeros(len(keys))
    return Drive(stamps, imu + bias + noise * rng.normal(size=(n, 6)), stamps[keys],
                 np.stack([x, y, flat, flat, flat, np.sin(half), np.cos(half)], 1))
