"""The loop closed without middleware: robot, IMU smoother and controller in one thread, faster than real time."""
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.control import PurePursuit
from pypose_core.inertial import ImuNoise
from pypose_core.online import ImuSmoother, ImuSmootherConfig
from pypose_core.online.path_tracking import PathTracker, PathTrackerConfig, ReferencePath, TrackingStatus
from pypose_core.online.path_tracking.reference import SpeedProfile
from pypose_ros.frames import planar as flat
from pypose_ros.sim.config import SimulatorConfig
from pypose_ros.sim.course import Course
from pypose_ros.sim.local_costmap import LocalCostmap
from pypose_ros.sim.node import planar
from pypose_ros.sim.simulator import Simulator

STANDING = 1.5          # s at the start, in which the smoother finds its biases
TIME_LIMIT = 4.0        # times what the way takes at full speed


@dataclass(frozen=True)
class Outcome:
    """Of one drive."""

    status: TrackingStatus
    seconds: float
    """Of the robot's time."""
    collisions: int
    clearance: float
    """m, the least between body and walls."""
    truth: NDArray[np.float64]
    """(N, 3) x, y, heading at each cycle."""
    commands: NDArray[np.float64]
    """(N, 2) m/s, rad/s."""
    cross_track: NDArray[np.float64]
    """(N,) m from the true place to the way."""
    own_track: NDArray[np.float64]
    """(N,) m from the estimated place to the way: what the controller alone answers for."""
    cycles: NDArray[np.float64]
    """(N,) s that the controller took."""
    drift: float
    """m between estimate and truth at the end."""
    goal_error: float
    """m between the robot's own estimate and the goal."""

    @property
    def rmse(self) -> float:
        """m, of the cross track."""
        return float(np.sqrt(np.mean(self.cross_track ** 2)))

    def within(self, config: PathTrackerConfig) -> bool:
        """Whether every command kept to the limits of speeds and of their changes."""
        limits, v, w = config.limits, self.commands[:, 0], self.commands[:, 1]
        dv, dw = (np.abs(np.diff(x, prepend=0.0)).max() * config.frequency for x in (v, w))
        return bool(limits.min_speed - 1e-6 <= v.min() and v.max() <= limits.max_speed + 1e-6
                    and np.abs(w).max() <= limits.max_turn_rate + 1e-6
                    and dv <= limits.max_acceleration + 1e-3 and dw <= limits.max_turn_acceleration + 1e-3)


class PursuitDriver:
    """Pure pursuit with the speed profile and the acceleration limits of the controller that it is compared with.

    Args:
        path: (N, 3).
        config: of the other controller.
        lookahead: s of travel.
    """

    def __init__(self, path: NDArray, config: PathTrackerConfig, lookahead: float = 0.8):
        self._path, self._config = ReferencePath(path), config
        self._profile = SpeedProfile(self._path, config)
        self._pursuit = PurePursuit(lookahead, 0.3)
        self._s, self._before = 0.0, np.zeros(2)

    def __call__(self, pose: NDArray) -> tuple[NDArray, TrackingStatus]:
        """[v, w] and the status at x, y, heading."""
        limits, period = self._config.limits, 1 / self._config.frequency
        self._s, _ = self._path.project(pose[:2], self._s - 0.3, self._s + self._config.lookahead)
        if self._path.length - self._s < self._config.goal.xy:
            return np.zeros(2), TrackingStatus.REACHED
        v = min(self._profile(self._s), self._before[0] + limits.max_acceleration * period)
        ahead, _, _ = self._path.sample(self._s + np.linspace(0, 3.0, 40))
        v, w = self._pursuit(torch.from_numpy(pose), torch.from_numpy(ahead), v).tolist()
        change = limits.max_turn_acceleration * period
        w = min(max(w, self._before[1] - change, -limits.max_turn_rate), self._before[1] + change, limits.max_turn_rate)
        self._before = np.array([v, w])
        return self._before, TrackingStatus.TRACKING


def smoother_of(config: SimulatorConfig) -> ImuSmoother:
    """A smoother that knows what its IMU is like."""
    imu = config.imu
    return ImuSmoother(ImuSmootherConfig(body_velocity_sigma=(0.0, 0.05, 0.05), noise=ImuNoise(
        gyroscope_noise_density=imu.gyroscope_noise_density, gyroscope_random_walk=imu.gyroscope_random_walk,
        accelerometer_noise_density=imu.accelerometer_noise_density,
        accelerometer_random_walk=imu.accelerometer_random_walk)), T_base_imu=planar(np.zeros(3)))


def drive(course: Course, robot: SimulatorConfig, config: PathTrackerConfig, *, pursuit: bool = False) -> Outcome:
    """Drive a course on the robot's own estimate, to the end or until it is given up.

    Args:
        pursuit: by pure pursuit, which is blind to obstacles, in place of the controller.
    """
    simulator, smoother, costmap = Simulator(course.walls, robot), smoother_of(robot), LocalCostmap()
    tracker, pursuer = PathTracker(config), PursuitDriver(course.path, config)
    tracker.set_path(course.path)
    dt, truth_path, s = 1 / robot.imu.rate, ReferencePath(course.path), 0.0
    every = round(1 / (config.frequency * dt))
    truth: list[NDArray] = []
    commands: list[tuple[float, float]] = []
    offsets: list[float] = []
    own: list[float] = []
    cycles: list[float] = []
    clearance, scans, status = np.inf, 0, TrackingStatus.IDLE
    command: tuple[float, float] | None = (0.0, 0.0)
    steps = round((STANDING + TIME_LIMIT * truth_path.length / config.limits.max_speed) / dt)
    for k in range(steps):
        measured = simulator.step(dt, command)
        command = None
        assert measured.imu is not None         # a step is a sample of the IMU
        smoother.add_imu(measured.stamp_ns, measured.imu)
        third = k % (4 * round(1 / (robot.wheels.rate * dt))) == 3
        if third and measured.odometry is not None and measured.covariance is not None:
            smoother.add_odometry(measured.stamp_ns, planar(measured.odometry), 4 * measured.covariance)
            smoother.solve()
        output = smoother.output
        if output is None:
            command = 0.0, 0.0
            continue
        pose = flat(output.T_odom_base)
        if measured.scan is not None and not pursuit:
            costmap.add(pose, simulator.lidar.points(measured.scan))
            scans += 1
            if scans % 2 == 0:
                cells, corner = costmap.grid(pose[:2])
                tracker.set_costmap(cells, costmap.resolution, (*corner, 0.0))
        clearance = min(clearance, simulator.clearance) if k % 5 == 0 else clearance
        if k % every or k * dt < STANDING:
            continue
        if not pursuit:
            tracker.add_odometry(output.stamp_ns, pose, np.array([*output.velocity_base[:2],
                                                                  output.angular_velocity_base[2]]))
            outcome = tracker.command(simulator.stamp_ns)
            status, command = outcome.status, (float(outcome.twist[0]), float(outcome.twist[2]))
            cycles.append(outcome.seconds)
        else:
            (v, w), status = pursuer(pose)
            command = float(v), float(w)
        s, offset = truth_path.project(simulator.pose[:2], s - 0.5, s + 2.0)
        truth.append(simulator.pose)
        commands.append(command)
        offsets.append(offset)
        own.append(truth_path.project(pose[:2], s - 1.0, s + 1.0)[1])
        if status is TrackingStatus.REACHED or status.failed:
            break
    if smoother.output is None:
        raise RuntimeError('the smoother never began')
    estimate = flat(smoother.output.T_odom_base)
    return Outcome(status, k * dt, simulator.collisions, clearance, np.array(truth), np.array(commands),
                   np.array(offsets), np.array(own), np.array(cycles),
                   drift=float(np.hypot(*(estimate - simulator.pose)[:2])),
                   goal_error=float(np.hypot(*(estimate - truth_path.goal)[:2])))
