"""Corrections from outside: checked, and brought from the base's frame and ROS covariances to the IMU's."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pypose_core.online.initialization import hat
from pypose_core.online.verdict import Verdict

QUATERNION_TOLERANCE = 1e-4
MAX_COVARIANCE = 1e9


@dataclass(frozen=True)
class Correction:
    """A measured pose of the IMU, ready to become a factor."""

    stamp_ns: int
    pose: np.ndarray
    """(7,) T_odom_imu, or T_earlier_later of the IMU where `since_ns` is set."""
    covariance: np.ndarray
    """(6, 6) rotation (body), position (in the reference frame)."""
    since_ns: int | None = None
    """Stamp of the earlier end of a relative correction."""

    @cached_property
    def sqrt_information(self) -> np.ndarray:
        """(6, 6) lower-triangular W with W^T W = covariance^-1."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance))


def rotation_matrix(q: np.ndarray) -> np.ndarray:
    """(3, 3) of a unit quaternion x y z w."""
    x, y, z, w = q
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def quaternion_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a o b of quaternions x y z w."""
    return np.array(_product(*a.tolist(), *b.tolist()))


# In plain numbers: of seven of them array operations would take five times as long, at the rate of the IMU.

def _product(ax: float, ay: float, az: float, aw: float, bx: float, by: float, bz: float, bw: float
             ) -> tuple[float, float, float, float]:
    return (aw * bx + bw * ax + ay * bz - az * by, aw * by + bw * ay + az * bx - ax * bz,
            aw * bz + bw * az + ax * by - ay * bx, aw * bw - ax * bx - ay * by - az * bz)


def _rotated(x: float, y: float, z: float, w: float, vx: float, vy: float, vz: float) -> tuple[float, float, float]:
    """v + 2 q x (q x v + w v)."""
    tx, ty, tz = y * vz - z * vy + w * vx, z * vx - x * vz + w * vy, x * vy - y * vx + w * vz
    return vx + 2 * (y * tz - z * ty), vy + 2 * (z * tx - x * tz), vz + 2 * (x * ty - y * tx)


def compose(T_a_b: np.ndarray, T_b_c: np.ndarray) -> np.ndarray:
    """T_a_c (7,)."""
    ax, ay, az, px, py, pz, pw = T_a_b.tolist()
    bx, by, bz, qx, qy, qz, qw = T_b_c.tolist()
    x, y, z = _rotated(px, py, pz, pw, bx, by, bz)
    return np.array((ax + x, ay + y, az + z, *_product(px, py, pz, pw, qx, qy, qz, qw)))


def inverse(T_a_b: np.ndarray) -> np.ndarray:
    """T_b_a (7,)."""
    tx, ty, tz, x, y, z, w = T_a_b.tolist()
    rx, ry, rz = _rotated(-x, -y, -z, w, tx, ty, tz)
    return np.array((-rx, -ry, -rz, -x, -y, -z, w))


def check_pose(pose: np.ndarray) -> Verdict:
    """Whether a pose (7,) can be used at all."""
    if not np.isfinite(pose).all():
        return Verdict.NOT_FINITE
    if abs(np.linalg.norm(pose[3:]) - 1.0) > QUATERNION_TOLERANCE:
        return Verdict.BAD_QUATERNION
    return Verdict.ACCEPTED


def usable_covariance(covariance: np.ndarray, sigma: tuple[float, float]) -> np.ndarray | Verdict:
    """A positive definite covariance, or why there is none.

    A zero on the diagonal means "unknown" (all zeros is ROS' way to say it of the whole matrix, drivers
    of planar robots leave z, roll and pitch at zero): the given sigmas take its place.

    Args:
        covariance: (6, 6) x y z and rotation about x y z.
        sigma: m and rad.
    """
    if not np.isfinite(covariance).all():
        return Verdict.NOT_FINITE
    if np.abs(covariance).max() > MAX_COVARIANCE or np.abs(covariance - covariance.T).max() > 1e-6 * (
            1 + np.abs(covariance).max()):
        return Verdict.BAD_COVARIANCE
    covariance = 0.5 * (covariance + covariance.T)
    unknown = covariance.diagonal() == 0
    default = np.repeat(np.square(sigma), 3)
    covariance = np.where(unknown[:, None] | unknown[None, :], 0.0, covariance) + np.diag(unknown * default)
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return Verdict.BAD_COVARIANCE
    return covariance


def imu_covariance(covariance: np.ndarray, R_ref_base: np.ndarray, T_base_imu: np.ndarray) -> np.ndarray:
    """Covariance of T_ref_imu from that of T_ref_base.

    Args:
        covariance: (6, 6) ROS order: position, rotation about the reference frame's fixed axes.
        R_ref_base: (3, 3).
        T_base_imu: (7,).
    Returns:
        (6, 6) rotation (IMU's body axes), position of the IMU (reference frame).
    """
    R_ref_imu = R_ref_base @ rotation_matrix(T_base_imu[3:])
    jacobian = np.zeros((6, 6))
    jacobian[:3, 3:] = R_ref_imu.T
    jacobian[3:, :3] = np.eye(3)
    jacobian[3:, 3:] = -hat(R_ref_base @ T_base_imu[:3])
    return jacobian @ covariance @ jacobian.T


def absolute(stamp_ns: int, T_odom_base: np.ndarray, covariance: np.ndarray, T_base_imu: np.ndarray) -> Correction:
    """The correction that a measured pose of the base gives."""
    return Correction(stamp_ns, compose(T_odom_base, T_base_imu),
                      imu_covariance(covariance, rotation_matrix(T_odom_base[3:]), T_base_imu))


def increment(since_ns: int, T_ref_earlier: np.ndarray, stamp_ns: int, T_ref_later: np.ndarray,
              covariance: np.ndarray, T_base_imu: np.ndarray) -> Correction:
    """The correction that two poses of the base from one odometry source give.

    The covariance (ROS order, in the source's frame) is taken as that of the increment.
    """
    T_earlier_later = compose(inverse(T_ref_earlier), T_ref_later)
    R_earlier_ref = rotation_matrix(T_ref_earlier[3:]).T
    axes = np.kron(np.eye(2), R_earlier_ref)
    in_base = imu_covariance(axes @ covariance @ axes.T, rotation_matrix(T_earlier_later[3:]), T_base_imu)
    R_imu_base = rotation_matrix(T_base_imu[3:]).T
    turn = np.eye(6)
    turn[3:, 3:] = R_imu_base
    pose = compose(inverse(T_base_imu), compose(T_earlier_later, T_base_imu))
    return Correction(stamp_ns, pose, turn @ in_base @ turn.T, since_ns)
