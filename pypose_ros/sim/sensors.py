"""What the sensors of a simulated planar robot make of its motion."""
import numpy as np
from numpy.typing import NDArray

from pypose_ros.sim.config import ImuErrors, LidarConfig, WheelErrors
from pypose_ros.sim.walls import Walls

SLIP_TIME = 2.0     # s, over which the slow part of the slip forgets itself


def moved(pose: NDArray, v: float, w: float, dt: float) -> NDArray[np.float64]:
    """The pose (3,) after the arc driven at constant v, w: exact."""
    half = 0.5 * w * dt
    chord = v * dt * np.sinc(half / np.pi)
    return pose + [chord * np.cos(pose[2] + half), chord * np.sin(pose[2] + half), w * dt]


class Imu:
    """Angular rate and specific force with M (true value) + bias + noise; the bias walks.

    Args:
        errors: see there.
        gravity: m/s².
        generator: of every error.
    """

    def __init__(self, errors: ImuErrors, gravity: float, generator: np.random.Generator):
        self._errors, self._gravity, self._generator = errors, gravity, generator
        self._matrices = np.array([errors.gyroscope_matrix, errors.accelerometer_matrix])
        self.bias = generator.standard_normal(6) * np.repeat(
            (errors.gyroscope_bias_sigma, errors.accelerometer_bias_sigma), 3)
        self._density = np.repeat((errors.gyroscope_noise_density, errors.accelerometer_noise_density), 3)
        self._walk = np.repeat((errors.gyroscope_random_walk, errors.accelerometer_random_walk), 3)

    def sample(self, v: float, w: float, a: float, dt: float) -> NDArray[np.float64]:
        """(6,) rad/s and m/s², x ahead and z up, of a base that drives at v, w and accelerates by a."""
        noise = self._generator.standard_normal((2, 6))
        self.bias = self.bias + self._walk * np.sqrt(dt) * noise[0]
        true = np.array([[0.0, 0.0, w], [a, v * w, self._gravity]])
        measured = np.einsum('kij,kj->ki', self._matrices, true).ravel()
        return measured + self.bias + self._density / np.sqrt(dt) * noise[1]


class Wheels:
    """Dead reckoning by wheels: T_start_base as they would have it."""

    def __init__(self, errors: WheelErrors, generator: np.random.Generator):
        self._errors, self._generator = errors, generator
        self._slow = 0.0
        self.pose = np.zeros(3)
        self.twist = np.zeros(2)

    def move(self, v: float, w: float, a: float, dt: float) -> None:
        """Take in a motion at v, w with acceleration a for dt."""
        errors, noise = self._errors, self._generator.standard_normal(3)
        forget = np.exp(-dt / SLIP_TIME)
        self._slow = forget * self._slow + errors.slip_sigma * np.sqrt(1 - forget ** 2) * noise[0]
        slip = errors.slip * np.hypot(a, v * w) + self._slow
        ahead = v * dt * errors.scale * (1 + slip) + errors.noise[0] * np.sqrt(abs(v) * dt) * noise[1]
        turn = w * dt * errors.turn_scale + errors.noise[1] * np.sqrt(abs(w) * dt) * noise[2]
        self.twist = np.array([ahead, turn]) / dt
        self.pose = moved(self.pose, self.twist[0], self.twist[1], dt)

    def covariance(self, dt: float) -> NDArray[np.float64]:
        """(6, 6), ROS order, of what is driven in dt: as a driver states it that knows its wheels by and large."""
        errors = self._errors
        ahead = (errors.noise[0] ** 2 * abs(self.twist[0]) * dt + (errors.slip_sigma * self.twist[0] * dt) ** 2) + 1e-8
        turn = (errors.noise[1] ** 2 * abs(self.twist[1]) * dt + (0.02 * self.twist[1] * dt) ** 2) + 1e-8
        return np.diag([ahead, ahead, 1e-8, 1e-8, 1e-8, turn])


class Lidar:
    """Ranges to walls."""

    def __init__(self, config: LidarConfig, walls: Walls, generator: np.random.Generator):
        self.config, self._walls, self._generator = config, walls, generator
        self.angles = np.linspace(-np.pi, np.pi, config.beams, endpoint=False)

    def scan(self, pose: NDArray) -> NDArray[np.float64]:
        """(beams,) m from a base at a pose (3,); inf where nothing is hit."""
        c, s = np.cos(pose[2]), np.sin(pose[2])
        x, y = self.config.position
        at = np.array([pose[0] + c * x - s * y, pose[1] + s * x + c * y, pose[2]])
        ranges = self._walls.ranges(at, self.angles, limit=self.config.max_range)
        return ranges + self.config.sigma * self._generator.standard_normal(len(ranges))

    def points(self, ranges: NDArray) -> NDArray[np.float64]:
        """(N, 2) of the hits, in the frame of the base."""
        hit = np.isfinite(ranges)
        r, angles = ranges[hit], self.angles[hit]
        return np.stack([r * np.cos(angles), r * np.sin(angles)], 1) + self.config.position
