"""A synthetic flight: exact motion, the IMU that would have measured it, and noisy pose corrections.

The path and the attitude are sums of sinusoids of a warped time tau(t): at rest until `static_time`, then
speeding up smoothly. All derivatives are closed forms, so velocity, specific force and rate
are exact. `odom` is z up; base_link and the IMU coincide.
"""
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pypose_core.inertial import ImuNoise

from . import messages
from .euroc import IMU_TOPIC, TRUTH_BIAS_TOPIC, TRUTH_TOPIC
from .writer import BagWriter

POSE_TOPIC = '/pose'
ODOM, BASE, IMU = 'odom', 'base_link', 'imu_link'

# A consumer MEMS IMU, a few times noisier than EuRoC's: ImuNoise of the flight and config/synthetic.yaml.
MEMS = ImuNoise(gyroscope_noise_density=5e-4, accelerometer_noise_density=4e-3,
                gyroscope_random_walk=5e-5, accelerometer_random_walk=1e-3)

# Per axis (amplitude, circular frequency in tau): metres, then radians of roll, pitch, yaw.
_PATH = (((2.0, 0.7), (0.3, 2.1)), ((1.5, 0.9), (0.3, 1.7)), ((0.6, 0.5), (0.15, 2.3)))
_ATTITUDE = (((0.25, 1.3), (0.05, 3.1)), ((0.2, 1.1), (0.06, 2.7)), ((1.2, 0.4), (0.2, 1.9)))


@dataclass(frozen=True)
class FlightConfig:
    """What flight to make; the defaults are the demo's."""

    duration: float = 40.0
    """Seconds, the static ones included."""
    imu_rate: float = 200.0
    """Hz."""
    static_time: float = 1.5
    """Seconds at rest before take-off, for a static initialization."""
    ramp_time: float = 2.0
    """Seconds from rest to full speed."""
    correction_rate: float = 10.0
    """Hz, of pose corrections; they begin with the recording."""
    correction_sigma: tuple[float, float] = (0.02, 0.5)
    """Standard deviation per axis of a correction: metres, degrees."""
    correction_delay: float = 0.02
    """Seconds from a correction's stamp to its arrival: what a front-end needs to compute."""
    noise: ImuNoise = MEMS
    """Densities and random walks of the IMU."""
    initial_bias: tuple[float, ...] = (0.01, -0.015, 0.02, 0.08, -0.05, 0.06)
    """Gyroscope (rad/s) and accelerometer bias (m/s^2) at the start."""
    gravity: float = 9.80665
    """m/s^2."""
    start_ns: int = 1_700_000_000_000_000_000
    """Stamp of the first sample."""
    seed: int = 0
    """Of every random number."""


@dataclass(frozen=True)
class Motion:
    """Truth at N instants: pose T_odom_base (N, 7), and (N, 3) each of velocity and acceleration in
    odom, and angular velocity in the body."""

    poses: NDArray[np.float64] = field(repr=False)
    velocity: NDArray[np.float64] = field(repr=False)
    acceleration: NDArray[np.float64] = field(repr=False)
    angular_velocity: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class Flight:
    """A flight as arrays; N samples of the IMU with the truth at them, M corrections."""

    stamps_ns: NDArray[np.int64]
    imu: NDArray[np.float64]
    """(N, 6) measured rate and specific force."""
    truth: Motion
    bias: NDArray[np.float64]
    """(N, 6) true bias of gyroscope and accelerometer."""
    correction_stamps_ns: NDArray[np.int64]
    correction_log_ns: NDArray[np.int64]
    corrections: NDArray[np.float64]
    """(M, 7) noisy T_odom_base."""
    correction_covariance: NDArray[np.float64]
    """(6, 6), ROS order, of each of them."""


def warp(t: NDArray, config: FlightConfig) -> tuple[NDArray, NDArray, NDArray]:
    """tau(t) and its two derivatives: 0 at rest, slope 1 after the ramp, three times differentiable."""
    x = np.clip((np.asarray(t, float) - config.static_time) / config.ramp_time, 0, None)
    ramp = np.minimum(x, 1)
    rate = ramp ** 3 * (10 - 15 * ramp + 6 * ramp ** 2)
    tau = config.ramp_time * (ramp ** 4 * (2.5 - 3 * ramp + ramp ** 2) + np.maximum(x - 1, 0))
    return tau, rate, 30 * ramp ** 2 * (1 - ramp) ** 2 / config.ramp_time


def _sum_of_sines(terms, t: NDArray, config: FlightConfig) -> tuple[NDArray, NDArray, NDArray]:
    """(N, 3) value and first two derivatives in t."""
    tau, rate, bend = (part[:, None] for part in warp(t, config))
    value, first, second = (np.zeros((len(t), 3)) for _ in range(3))
    for axis, sines in enumerate(terms):
        for amplitude, omega in sines:
            value[:, axis] += amplitude * np.sin(omega * tau[:, 0])
            first[:, axis] += amplitude * omega * np.cos(omega * tau[:, 0])
            second[:, axis] -= amplitude * omega ** 2 * np.sin(omega * tau[:, 0])
    return value, first * rate, second * rate ** 2 + first * bend


def motion(t: NDArray, config: FlightConfig) -> Motion:
    """The truth at times t (N,), seconds since the first sample.

    R = Rz(yaw) Ry(pitch) Rx(roll); the body rate is
    [r' - y' sin p, p' cos r + y' sin r cos p, y' cos r cos p - p' sin r].
    """
    t = np.asarray(t, float)
    position, velocity, acceleration = _sum_of_sines(_PATH, t, config)
    angles, rates, _ = _sum_of_sines(_ATTITUDE, t, config)
    roll, pitch, _ = angles.T
    droll, dpitch, dyaw = rates.T
    omega = np.stack([droll - dyaw * np.sin(pitch),
                      dpitch * np.cos(roll) + dyaw * np.sin(roll) * np.cos(pitch),
                      dyaw * np.cos(roll) * np.cos(pitch) - dpitch * np.sin(roll)], axis=1)
    quaternions = Rotation.from_euler('xyz', angles).as_quat()
    return Motion(np.hstack([position, quaternions]), velocity, acceleration, omega)


def fly(config: FlightConfig = FlightConfig()) -> Flight:
    """Make the flight.

    A sample is the truth at its stamp, plus the bias, plus white noise of density / sqrt(dt); the bias
    walks by random_walk * sqrt(dt) a sample.
    """
    rng = np.random.default_rng(config.seed)
    step = round(1e9 / config.imu_rate)
    count = int(config.duration * 1e9) // step + 1
    offsets = step * np.arange(count, dtype=np.int64)
    truth = motion(offsets * 1e-9, config)
    rotations = Rotation.from_quat(truth.poses[:, 3:])
    dt, noise = step * 1e-9, config.noise
    density = np.repeat([noise.gyroscope_noise_density, noise.accelerometer_noise_density], 3)
    walk = np.repeat([noise.gyroscope_random_walk, noise.accelerometer_random_walk], 3)
    steps = rng.normal(size=(count, 6)) * walk * np.sqrt(dt)
    steps[0] = config.initial_bias
    bias = np.cumsum(steps, axis=0)
    force = rotations.inv().apply(truth.acceleration + [0, 0, config.gravity])
    measured = np.hstack([truth.angular_velocity, force]) + bias + rng.normal(
        size=(count, 6)) * density / np.sqrt(dt)

    every = max(round(config.imu_rate / config.correction_rate), 1)
    chosen = np.arange(0, count, every)
    sigma = np.repeat([config.correction_sigma[0], np.radians(config.correction_sigma[1])], 3)
    errors = rng.normal(size=(len(chosen), 6)) * sigma
    corrections = np.hstack([truth.poses[chosen, :3] + errors[:, :3],
                             (Rotation.from_rotvec(errors[:, 3:]) * rotations[chosen]).as_quat()])
    stamps = config.start_ns + offsets
    return Flight(stamps, measured, truth, bias, stamps[chosen],
                  stamps[chosen] + round(config.correction_delay * 1e9), corrections, np.diag(sigma ** 2))


def write_flight(path: str | Path, config: FlightConfig = FlightConfig(), *,
                 overwrite: bool = False) -> Flight:
    """Make a flight and write it as a bag: IMU, corrections, ground truth with velocity, true bias."""
    flight = fly(config)
    noise, rate = config.noise, config.imu_rate
    covariances = (noise.gyroscope_noise_density ** 2 * rate, noise.accelerometer_noise_density ** 2 * rate)
    truth, stamps = flight.truth, flight.stamps_ns.tolist()
    v_base = Rotation.from_quat(truth.poses[:, 3:]).inv().apply(truth.velocity)
    twists = np.hstack([v_base, truth.angular_velocity])
    entries = [(stamps[0], '/tf_static', messages.static_transform(stamps[0], BASE, IMU, np.eye(7)[6]))]
    for k, stamp in enumerate(stamps):
        entries.append((stamp, IMU_TOPIC, messages.imu(stamp, IMU, flight.imu[k], covariances)))
        entries.append((stamp, TRUTH_TOPIC, messages.odometry(stamp, ODOM, BASE, truth.poses[k], twists[k])))
        if k % 10 == 0:
            entries.append((stamp, TRUTH_BIAS_TOPIC, messages.imu_bias(stamp, IMU, flight.bias[k])))
    for stamp, log, pose in zip(flight.correction_stamps_ns.tolist(), flight.correction_log_ns.tolist(),
                                flight.corrections):
        entries.append((log, POSE_TOPIC, messages.pose_with_covariance(
            stamp, ODOM, pose, flight.correction_covariance)))
    entries.sort(key=lambda entry: entry[0])
    with BagWriter(path, overwrite=overwrite) as bag:
        for log, topic, message in entries:
            bag.write(topic, log, message)
    return flight
