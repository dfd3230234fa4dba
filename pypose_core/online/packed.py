"""Layout of the rows of numbers that the estimator shares with native code; offsets as in csrc/online."""
from torch import Tensor

# A preintegrated row of 296: dt, rotation, velocity, position, the bias it was integrated at,
# d(rotation, velocity, position) / d bias, covariance.
BIAS = slice(11, 17)
JACOBIAN = slice(17, 71)
COVARIANCE = slice(71, 296)
ROW_SIZE = 296


def unpack_delta(row: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dt (..., 1) s, rotation (..., 4), velocity (..., 3), position (..., 3) of rows (..., 296)."""
    return row[..., :1], row[..., 1:5], row[..., 5:8], row[..., 8:11]


class Workspace:
    """Offsets of what the IMU-rate propagation reads and writes."""

    ANCHOR = slice(0, 16)
    """NavState of the keyframe that propagation starts from."""
    ANCHOR_COVARIANCE = slice(16, 241)
    ROW = slice(241, 537)
    """Samples since then, preintegrated."""
    NOISE = slice(537, 545)
    """Five of ImuNoise, then max_imu_gap, gap_gyro_sigma, gap_accel_sigma."""
    GRAVITY = 545
    EXTRINSIC = slice(546, 553)
    """T_imu_base"""
    SAMPLE = slice(553, 559)
    """The last sample."""
    STATE = slice(559, 575)
    """Output: NavState now."""
    COVARIANCE = slice(575, 800)
    POSE = slice(800, 807)
    """Output: T_odom_base."""
    LINEAR = slice(807, 810)
    ANGULAR = slice(810, 813)
    POSE_COVARIANCE = slice(813, 849)
    TWIST_COVARIANCE = slice(849, 885)
    MAX_VELOCITY = 885
    DENSITY = slice(886, 892)
    """The last sample's noise densities."""
    SIZE = 892
