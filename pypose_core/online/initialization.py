"""The first state: from standing still, from the IMU's own orientation, or from a pose that is given."""
import numpy as np

from pypose_core.online.config import InitConfig

STANDARD_GRAVITY = 9.80665
"""m/s^2: what an accelerometer that reports in g calls one."""


def is_static(samples: np.ndarray, config: InitConfig) -> bool:
    """Whether a window of samples (N, 6) shows no motion: small scatter on every axis."""
    scatter = samples.std(axis=0)
    return bool((scatter[:3] <= config.max_gyro_std).all() and (scatter[3:] <= config.max_accel_std).all())


def reports_in_g(samples: np.ndarray) -> bool:
    """Whether the accelerometer of samples (N, 6) is in g rather than in m/s^2.

    Near the ground the mean specific force of a window is about one g; a mean norm of 1 +- 0.3
    would in m/s^2 be free fall.
    """
    return bool(abs(np.linalg.norm(samples[:, 3:], axis=1).mean() - 1.0) < 0.3)


def level_from_gravity(mean_accel: np.ndarray) -> np.ndarray:
    """The attitude q_odom_imu (x y z w) with zero yaw that turns the mean specific force upwards.

    A robot at rest measures a = R^T (0, 0, g), so R's last row is a / |a|.
    """
    up = mean_accel / np.linalg.norm(mean_accel)
    roll = np.arctan2(up[1], up[2])
    pitch = np.arctan2(-up[0], np.hypot(up[1], up[2]))
    sr, cr, sp, cp = np.sin(roll / 2), np.cos(roll / 2), np.sin(pitch / 2), np.cos(pitch / 2)
    return np.array([sr * cp, cr * sp, -sr * sp, cr * cp])


def hat(v: np.ndarray) -> np.ndarray:
    """The skew-symmetric matrix of a 3-vector: hat(a) b = a x b."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def static_state(samples: np.ndarray, config: InitConfig, *, gravity: float) -> tuple[np.ndarray, np.ndarray]:
    """First state of a robot that stood still over a window.

    With u the unit mean specific force in the IMU frame, an accelerometer bias b and the mean's own
    error n, a_mean = R^T (0, 0, g) + b + n holds for the true attitude. The part along u gives the
    bias along gravity; the part across it tilts the leveled attitude by

        d_theta = u x (b + n) / g,

    so tilt and bias are correlated in the prior: motion later tells them apart.

    Args:
        samples: (N, 6) gyroscope rad/s, accelerometer m/s^2, at rest.
        gravity: m/s^2.
    Returns:
        NavState (16,) [p, q, v, bias of gyroscope, of accelerometer] at the origin with zero yaw, and
        its covariance (15, 15): rotation (body), velocity, position, biases.
    """
    mean, scatter = samples.mean(axis=0), samples.std(axis=0)
    # Neighbouring samples of a real sensor are correlated: count a tenth of them as independent.
    independent = max(len(samples) / 10.0, 1.0)
    gyro_mean_sigma = scatter[:3].max() / np.sqrt(independent) + 1e-5
    accel_mean_sigma = scatter[3:].max() / np.sqrt(independent) + config.gravity_sigma

    norm = np.linalg.norm(mean[3:])
    u = mean[3:] / norm
    along, across = np.outer(u, u), np.eye(3) - np.outer(u, u)
    tilt = hat(u) / gravity

    state = np.zeros(16)
    state[3:7] = level_from_gravity(mean[3:])
    state[10:13] = mean[:3]
    state[13:16] = (norm - gravity) * u
    covariance = np.zeros((15, 15))
    bias = config.accel_bias_sigma**2 * across + accel_mean_sigma**2 * along
    covariance[:3, :3] = (tilt @ bias @ tilt.T + (accel_mean_sigma / gravity)**2 * across
                          + config.position_sigma**2 * along)
    covariance[:3, 12:] = tilt @ bias
    covariance[12:, :3] = covariance[:3, 12:].T
    covariance[12:, 12:] = bias
    covariance[3:6, 3:6] = config.static_velocity_sigma**2 * np.eye(3)
    covariance[6:9, 6:9] = config.position_sigma**2 * np.eye(3)
    covariance[9:12, 9:12] = gyro_mean_sigma**2 * np.eye(3)
    return state, covariance


def given_state(T_odom_imu: np.ndarray, pose_covariance: np.ndarray, config: InitConfig, *,
                velocity_sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """First state at a pose that is known, with nothing known of the biases.

    Args:
        T_odom_imu: (7,).
        pose_covariance: (6, 6) rotation (body), position.
        velocity_sigma: m/s, of the prior that the velocity is zero.
    Returns:
        NavState (16,) and its covariance (15, 15), as `static_state`.
    """
    state = np.zeros(16)
    state[:7] = T_odom_imu
    covariance = np.diag(np.repeat([0.0, velocity_sigma**2, 0.0, config.gyro_bias_sigma**2,
                                    config.accel_bias_sigma**2], 3))
    pose = np.r_[0:3, 6:9]
    covariance[np.ix_(pose, pose)] = pose_covariance
    return state, covariance
