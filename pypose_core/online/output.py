"""What the estimator gives out at the rate of the IMU."""
import numpy as np

from pypose_core.online.packed import Workspace


class ImuOutput:
    """The newest estimate: numpy views that the next sample overwrites. Copy what you keep."""

    def __init__(self, values: np.ndarray):
        self.stamp_ns = 0
        """Of the newest IMU sample (time_offset applied)."""
        self.T_odom_base = values[Workspace.POSE]
        """(7,) [x y z qx qy qz qw]"""
        self.velocity_base = values[Workspace.LINEAR]
        """(3,) m/s, of the base's origin, in the base frame"""
        self.angular_velocity_base = values[Workspace.ANGULAR]
        """(3,) rad/s, bias removed, in the base frame"""
        self.pose_covariance = values[Workspace.POSE_COVARIANCE].reshape(6, 6)
        """(6, 6) ROS order: x y z, rotation about the fixed axes of odom"""
        self.twist_covariance = values[Workspace.TWIST_COVARIANCE].reshape(6, 6)
        """(6, 6) linear, angular, in the base frame"""
        self.state = values[Workspace.STATE]
        """(16,) NavState of the IMU: position, quaternion, velocity in odom, gyroscope and accelerometer bias"""
        self.covariance = values[Workspace.COVARIANCE].reshape(15, 15)
        """(15, 15) of `state`: rotation (body), velocity, position, biases"""
        self.bias = values[Workspace.STATE][10:]
        """(6,) gyroscope rad/s, accelerometer m/s^2"""
        self.bias_covariance = self.covariance[9:, 9:]
        """(6, 6)"""
        self.sample = values[Workspace.SAMPLE]
        """(6,) the newest sample, in SI units, biases not removed"""
