"""A planar robot with a differential drive, an IMU, wheel odometry and a lidar, in a world of walls.

    simulator = Simulator(offices().seen_from(START), SimulatorConfig(seed=3))
    measured = simulator.step(0.005, (0.5, 0.1))

The robot begins at the origin of the world, at rest, heading along x.
"""
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pypose_ros.sim.config import SimulatorConfig
from pypose_ros.sim.sensors import Imu, Lidar, Wheels, moved
from pypose_ros.sim.walls import Walls


@dataclass(frozen=True)
class Measurements:
    """What one step gave; a sensor that had nothing to say is None."""

    stamp_ns: int
    imu: NDArray[np.float64] | None
    """(6,) rad/s, m/s²."""
    odometry: NDArray[np.float64] | None
    """(3,) x, y, heading by the wheels."""
    twist: NDArray[np.float64] | None
    """(2,) m/s, rad/s by the wheels."""
    covariance: NDArray[np.float64] | None
    """(6, 6) of the increment since the odometry before, ROS order."""
    scan: NDArray[np.float64] | None
    """(beams,) m."""


class _Due:
    """Whether a sensor of a rate measures at a stamp."""

    def __init__(self, rate: float, begin_ns: int):
        self._period_ns, self._next_ns = 1e9 / rate, begin_ns + 1e9 / rate

    def __call__(self, stamp_ns: int) -> bool:
        if stamp_ns < self._next_ns - 0.5:
            return False
        self._next_ns = max(self._next_ns, stamp_ns - self._period_ns) + self._period_ns
        return True


class Simulator:
    """See the module.

    Args:
        walls: in the frame that begins where the robot stands.
        config: the robot.
    """

    def __init__(self, walls: Walls, config: SimulatorConfig | None = None):
        self.walls, self.config = walls, config or SimulatorConfig()
        config = self.config
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence(config.seed).spawn(3)]
        self.imu = Imu(config.imu, config.gravity, streams[0])
        self.wheels = Wheels(config.wheels, streams[1])
        self.lidar = Lidar(config.lidar, walls, streams[2])
        self._imu_due, self._wheels_due, self._scan_due = (
            _Due(rate, config.begin_ns) for rate in (config.imu.rate, config.wheels.rate, config.lidar.rate))
        self.stamp_ns = config.begin_ns
        self.pose = np.zeros(3)
        """True x, y, heading."""
        self.v = self.w = self.a = 0.0
        """True speed, turn rate and acceleration."""
        self.collisions = 0
        """Times that the body ran into a wall; it stops there."""
        self._commands: deque[tuple[int, float, float]] = deque([(config.begin_ns - 10 ** 12, 0.0, 0.0)])
        self._heard_ns = -10 ** 18
        self._touching = False

    @property
    def clearance(self) -> float:
        """m between the body and the nearest wall."""
        return float(self.walls.distance(self.pose[:2])) - self.config.radius

    @property
    def truth(self) -> NDArray[np.float64]:
        """(7,) T_world_base."""
        half = 0.5 * self.pose[2]
        return np.array([self.pose[0], self.pose[1], 0.0, 0.0, 0.0, np.sin(half), np.cos(half)])

    def step(self, dt: float, command: tuple[float, float] | None = None) -> Measurements:
        """Let dt seconds pass.

        Args:
            dt: s; the longest step with which every sensor keeps its rate is the IMU's period.
            command: m/s and rad/s that arrive at the beginning of the step; None where nothing arrives.
        """
        if not 0 < dt <= 0.1:
            raise ValueError(f'dt is {dt}; a step lasts up to 0.1 s')
        if command is not None:
            self._heard_ns = self.stamp_ns
            v, w = command
            self._commands.append((self.stamp_ns + round(self.config.actuators.delay * 1e9), float(v), float(w)))
        v, w = self._drive(dt)
        pose = moved(self.pose, 0.5 * (self.v + v), 0.5 * (self.w + w), dt)
        self.a = (v - self.v) / dt
        mean_v, mean_w = 0.5 * (self.v + v), 0.5 * (self.w + w)
        if self.walls.distance(pose[:2]) <= self.config.radius:
            self.collisions += not self._touching
            self._touching = True
            pose[:2], self.a, v = self.pose[:2], -self.v / dt, 0.0
        elif self._touching:
            self._touching = bool(self.walls.distance(pose[:2]) < self.config.radius + 0.02)
        self.pose, self.v, self.w = pose, v, w
        self.stamp_ns += round(dt * 1e9)
        self.wheels.move(mean_v, mean_w, self.a, dt)
        return self._measure(dt)

    def _drive(self, dt: float) -> tuple[float, float]:
        """Speeds at the end of a step: first-order lag towards the command, within the actuators' limits."""
        limits = self.config.actuators
        while len(self._commands) > 1 and self._commands[1][0] <= self.stamp_ns:
            self._commands.popleft()
        _, v, w = self._commands[0]
        if self.stamp_ns - self._heard_ns > limits.timeout * 1e9 or not np.isfinite([v, w]).all():
            v = w = 0.0
        v = min(max(v, -0.5 * limits.max_speed), limits.max_speed)
        w = min(max(w, -limits.max_turn_rate), limits.max_turn_rate)
        share = 1 - np.exp(-dt / limits.lag)
        most = limits.max_acceleration * dt, limits.max_turn_acceleration * dt
        return (self.v + min(max(share * (v - self.v), -most[0]), most[0]),
                self.w + min(max(share * (w - self.w), -most[1]), most[1]))

    def _measure(self, dt: float) -> Measurements:
        at = self.stamp_ns
        imu = self.imu.sample(self.v, self.w, self.a, 1 / self.config.imu.rate) if self._imu_due(at) else None
        odometry = twist = covariance = None
        if self._wheels_due(at):
            odometry, twist = self.wheels.pose, self.wheels.twist
            covariance = self.wheels.covariance(1 / self.config.wheels.rate)
        return Measurements(at, imu, odometry, twist, covariance,
                            self.lidar.scan(self.pose) if self._scan_due(at) else None)
