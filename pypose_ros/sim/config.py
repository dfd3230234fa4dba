"""What a simulated robot is like: its actuators, its sensors and their errors."""
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ActuatorConfig:
    """From a command to the motion of the body."""

    max_speed: float = 1.2
    """m/s, forwards; half of it backwards."""
    max_turn_rate: float = 2.0
    """rad/s."""
    max_acceleration: float = 2.0
    """m/s², of the forward speed."""
    max_turn_acceleration: float = 6.0
    """rad/s²."""
    lag: float = 0.08
    """s, time constant with which speeds approach what is commanded."""
    delay: float = 0.03
    """s from the arrival of a command to its first effect."""
    timeout: float = 0.5
    """s without a command after which the drive stops by itself, as bases do."""


@dataclass(frozen=True)
class ImuErrors:
    """Errors of the inertial sensor: noise in Kalibr's units, biases, and calibration that is wrong."""

    rate: float = 200.0
    """Hz."""
    gyroscope_noise_density: float = 1.7e-4
    """rad/s/√Hz."""
    accelerometer_noise_density: float = 2.0e-3
    """m/s²/√Hz."""
    gyroscope_random_walk: float = 2.0e-5
    """rad/s²/√Hz."""
    accelerometer_random_walk: float = 3.0e-3
    """m/s³/√Hz."""
    gyroscope_bias_sigma: float = 0.01
    """rad/s, of each axis at the start; drawn from the seed."""
    accelerometer_bias_sigma: float = 0.05
    """m/s²."""
    gyroscope_matrix: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    """What the sensor makes of the true rate: scale factors on the diagonal, misalignment beside it."""
    accelerometer_matrix: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    """The same of the specific force."""


@dataclass(frozen=True)
class WheelErrors:
    """Errors of the odometry of the wheels."""

    rate: float = 50.0
    """Hz."""
    scale: float = 1.0
    """Speed that is measured per speed that is driven: a wrong radius."""
    turn_scale: float = 1.0
    """The same of the turn rate: a wrong track."""
    slip: float = 0.01
    """Share of its travel by which the wheels run ahead of the body while it accelerates by 1 m/s² or m v w."""
    slip_sigma: float = 0.01
    """Standard deviation of a further, slowly varying slip."""
    noise: tuple[float, float] = (0.01, 0.01)
    """m/√m and rad/√rad: random walk of the travel and of the heading."""


@dataclass(frozen=True)
class LidarConfig:
    """A scanner that sees one plane."""

    rate: float = 10.0
    """Hz."""
    beams: int = 360
    """Over a full turn."""
    max_range: float = 15.0
    """m."""
    sigma: float = 0.01
    """m, of each range."""
    position: tuple[float, float] = (0.15, 0.0)
    """m, in the frame of the base."""


@dataclass(frozen=True)
class SimulatorConfig:
    """One robot. The seed decides every error, each sensor has a stream of random numbers of its own."""

    radius: float = 0.25
    """m, of the round body."""
    gravity: float = 9.80665
    """m/s²."""
    actuators: ActuatorConfig = field(default_factory=ActuatorConfig)
    imu: ImuErrors = field(default_factory=ImuErrors)
    wheels: WheelErrors = field(default_factory=WheelErrors)
    lidar: LidarConfig = field(default_factory=LidarConfig)
    begin_ns: int = 1_700_000_000_000_000_000
    """Stamp of the start."""
    seed: int = 0


def miscalibrated(error: float) -> ImuErrors:
    """An IMU whose scale factors are wrong by `error` (0.02 is 2 %) and whose axes are turned by as many rad."""
    turned = np.eye(3) + error * np.array([[1.0, 0.6, -0.4], [-0.6, 1.0, 0.5], [0.4, -0.5, 1.0]])
    rows = tuple((float(x), float(y), float(z)) for x, y, z in turned)
    return ImuErrors(gyroscope_matrix=rows, accelerometer_matrix=rows)
