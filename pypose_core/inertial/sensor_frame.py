"""Measurements of an IMU as they would be at another point of the same rigid body."""
import torch
from torch import Tensor

from pypose_core.lie import so3


def to_body_frame(gyro: Tensor, accel: Tensor, T_body_imu: Tensor, *,
                  bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Angular rate and specific force in the body's axes, at the body's origin.

        w_b = R w,   a_b = R a - w_b × (w_b × t)

    The bias is the sensor's and is taken off first, so what comes out is to be integrated at zero bias. The
    angular acceleration's part, ẇ × t, is not measured and is left out, as GTSAM's body_P_sensor does: the
    result is exact for a steady turn.  An estimator that has a choice should rather estimate the IMU's own
    pose and transform that.

    Args:
        gyro: (..., 3) rad/s. accel: (..., 3) m/s². T_body_imu: (..., 7) [t, q]. bias: (..., 6).
    """
    if bias is not None:
        gyro, accel = gyro - bias[..., :3], accel - bias[..., 3:]
    t, q = T_body_imu[..., :3], T_body_imu[..., 3:]
    rate = so3.act(q, gyro)
    return rate, so3.act(q, accel) - so3.cross(rate, so3.cross(rate, torch.broadcast_to(t, rate.shape)))
