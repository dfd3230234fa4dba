"""Construction of the messages that we write into bags, from stamps and arrays."""
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .types import typestore


def _type(name: str):
    return typestore().types[name]


def header(stamp_ns: int, frame_id: str):
    seconds, nanoseconds = divmod(int(stamp_ns), 10 ** 9)
    return _type('std_msgs/msg/Header')(_type('builtin_interfaces/msg/Time')(seconds, nanoseconds), frame_id)


def vector3(value: Iterable[float]):
    return _type('geometry_msgs/msg/Vector3')(*map(float, value))


def pose(T: Iterable[float]):
    """geometry_msgs/Pose of a row [x y z qx qy qz qw]."""
    values = [float(value) for value in T]
    return _type('geometry_msgs/msg/Pose')(_type('geometry_msgs/msg/Point')(*values[:3]),
                                           _type('geometry_msgs/msg/Quaternion')(*values[3:]))


def imu(stamp_ns: int, frame_id: str, sample: NDArray, covariances: tuple[float, float]):
    """sensor_msgs/Imu without orientation.

    Args:
        sample: (6,) angular velocity, rad/s, and specific force, m/s^2, in `frame_id`.
        covariances: variance per axis of the rate and of the force.
    """
    gyroscope, accelerometer = (np.diag([variance] * 3).ravel() for variance in covariances)
    absent = np.zeros(9)
    absent[0] = -1.0            # sensor_msgs/Imu: no orientation
    return _type('sensor_msgs/msg/Imu')(
        header(stamp_ns, frame_id), _type('geometry_msgs/msg/Quaternion')(0.0, 0.0, 0.0, 1.0), absent,
        vector3(sample[:3]), gyroscope, vector3(sample[3:]), accelerometer)


def imu_as_recorded(stamp_ns: int, frame_id: str, sample: NDArray, orientation: NDArray, covariances: NDArray):
    """sensor_msgs/Imu with all its fields; covariances (3, 9) of orientation, rate and force."""
    return _type('sensor_msgs/msg/Imu')(
        header(stamp_ns, frame_id), _type('geometry_msgs/msg/Quaternion')(*map(float, orientation)),
        np.ascontiguousarray(covariances[0]), vector3(sample[:3]), np.ascontiguousarray(covariances[1]),
        vector3(sample[3:]), np.ascontiguousarray(covariances[2]))


def pose_with_covariance(stamp_ns: int, frame_id: str, T: Iterable[float], covariance: NDArray):
    """geometry_msgs/PoseWithCovarianceStamped; covariance (6, 6) in ROS order."""
    return _type('geometry_msgs/msg/PoseWithCovarianceStamped')(
        header(stamp_ns, frame_id),
        _type('geometry_msgs/msg/PoseWithCovariance')(pose(T), np.asarray(covariance, float).ravel()))


def pose_stamped(stamp_ns: int, frame_id: str, T: Iterable[float]):
    return _type('geometry_msgs/msg/PoseStamped')(header(stamp_ns, frame_id), pose(T))


def odometry(stamp_ns: int, frame_id: str, child_frame_id: str, T: Iterable[float], twist: Sequence[float] | NDArray,
             pose_covariance: NDArray | None = None, twist_covariance: NDArray | None = None):
    """nav_msgs/Odometry; twist (6,) linear and angular, in the child frame."""
    zero = np.zeros(36)
    pose_covariance = zero if pose_covariance is None else np.asarray(pose_covariance, float).ravel()
    twist_covariance = zero if twist_covariance is None else np.asarray(twist_covariance, float).ravel()
    return _type('nav_msgs/msg/Odometry')(
        header(stamp_ns, frame_id), child_frame_id,
        _type('geometry_msgs/msg/PoseWithCovariance')(pose(T), pose_covariance),
        _type('geometry_msgs/msg/TwistWithCovariance')(
            _type('geometry_msgs/msg/Twist')(vector3(twist[:3]), vector3(twist[3:])), twist_covariance))


def imu_bias(stamp_ns: int, frame_id: str, bias: NDArray):
    """pypose_ros/ImuBias; bias (6,) gyroscope and accelerometer."""
    return _type('pypose_ros/msg/ImuBias')(
        header(stamp_ns, frame_id), vector3(bias[:3]), vector3(bias[3:]), np.zeros(36))


def static_transform(stamp_ns: int, parent: str, child: str, T: Iterable[float]):
    """tf2_msgs/TFMessage with one transform T_parent_child."""
    values = [float(value) for value in T]
    transform = _type('geometry_msgs/msg/Transform')(
        vector3(values[:3]), _type('geometry_msgs/msg/Quaternion')(*values[3:]))
    return _type('tf2_msgs/msg/TFMessage')(
        [_type('geometry_msgs/msg/TransformStamped')(header(stamp_ns, parent), child, transform)])
