"""Messages to arrays and back.

Poses are (7,) float64 [t, q] with q = x y z w; stamps are integer nanoseconds.

Everything here goes through message objects and is meant for what happens at keyframe rate or
less; what happens at IMU rate is in cdr.py. `torch.from_numpy` of a result shares its memory.
"""
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    PoseWithCovarianceStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Imu
from std_msgs.msg import Header

from pypose_ros.msg import ImuBias, PreintegratedImu

NANO = 1_000_000_000


def stamp_from_msg(stamp: Time) -> int:
    """Nanoseconds since the clock's epoch."""
    return stamp.sec * NANO + stamp.nanosec


def stamp_to_msg(stamp_ns: int) -> Time:
    sec, nanosec = divmod(int(stamp_ns), NANO)
    return Time(sec=sec, nanosec=nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=stamp_to_msg(stamp_ns), frame_id=frame_id)


def vector_from_msg(vector: Vector3 | Point) -> np.ndarray:
    """(3,) float64."""
    return np.array((vector.x, vector.y, vector.z))


def vector_to_msg(vector: np.ndarray) -> Vector3:
    x, y, z = map(float, vector)
    return Vector3(x=x, y=y, z=z)


def point_to_msg(point: np.ndarray) -> Point:
    x, y, z = map(float, point)
    return Point(x=x, y=y, z=z)


def quaternion_from_msg(quaternion: Quaternion) -> np.ndarray:
    """(4,) float64, x y z w."""
    return np.array((quaternion.x, quaternion.y, quaternion.z, quaternion.w))


def quaternion_to_msg(quaternion: np.ndarray) -> Quaternion:
    x, y, z, w = map(float, quaternion)
    return Quaternion(x=x, y=y, z=z, w=w)


def pose_from_msg(pose: Pose) -> np.ndarray:
    """(7,) float64 T_frame_child of a Pose in `frame`."""
    t, q = pose.position, pose.orientation
    return np.array((t.x, t.y, t.z, q.x, q.y, q.z, q.w))


def pose_to_msg(pose: np.ndarray) -> Pose:
    return Pose(position=point_to_msg(pose[:3]), orientation=quaternion_to_msg(pose[3:7]))


def transform_from_msg(transform: Transform) -> np.ndarray:
    """(7,) float64 T_frame_child."""
    t, q = transform.translation, transform.rotation
    return np.array((t.x, t.y, t.z, q.x, q.y, q.z, q.w))


def transform_to_msg(stamp_ns: int, frame_id: str, child_frame_id: str,
                     transform: np.ndarray) -> TransformStamped:
    """TransformStamped with T_frame_child = `transform` (7,)."""
    message = TransformStamped(header=header(stamp_ns, frame_id), child_frame_id=child_frame_id)
    message.transform.translation = vector_to_msg(transform[:3])
    message.transform.rotation = quaternion_to_msg(transform[3:7])
    return message


def covariance_from_msg(covariance: np.ndarray) -> np.ndarray:
    """Square float64 matrix from a row-major covariance field of n*n numbers."""
    flat = np.asarray(covariance, np.float64)
    size = round(len(flat) ** 0.5)
    return flat.reshape(size, size)


def covariance_to_msg(covariance: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(covariance, np.float64).reshape(-1)


def imu_from_msg(message: Imu) -> tuple[int, str, np.ndarray, np.ndarray]:
    """(stamp_ns, frame_id, sample, orientation).

    sample (6,): angular velocity rad/s, specific force m/s^2, in the IMU's frame. orientation (4,).
    """
    sample = np.concatenate((vector_from_msg(message.angular_velocity),
                             vector_from_msg(message.linear_acceleration)))
    return (stamp_from_msg(message.header.stamp), message.header.frame_id, sample,
            quaternion_from_msg(message.orientation))


def imu_to_msg(stamp_ns: int, frame_id: str, sample: np.ndarray,
               orientation: np.ndarray | None = None) -> Imu:
    """Imu with a sample (6,) as above; without an orientation (4,) that field is marked absent (REP-145)."""
    message = Imu(header=header(stamp_ns, frame_id), angular_velocity=vector_to_msg(sample[:3]),
                  linear_acceleration=vector_to_msg(sample[3:6]))
    if orientation is None:
        message.orientation_covariance[0] = -1.0
    else:
        message.orientation = quaternion_to_msg(orientation)
    return message


def odometry_from_msg(message: Odometry) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(stamp_ns, T_frame_child (7,), its covariance (6, 6), twist (6,) in the child frame, its own)."""
    twist = message.twist.twist
    return (stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose),
            covariance_from_msg(message.pose.covariance),
            np.concatenate((vector_from_msg(twist.linear), vector_from_msg(twist.angular))),
            covariance_from_msg(message.twist.covariance))


def odometry_to_msg(stamp_ns: int, frame_id: str, child_frame_id: str, pose: np.ndarray,
                    pose_covariance: np.ndarray, twist: np.ndarray, twist_covariance: np.ndarray) -> Odometry:
    message = Odometry(header=header(stamp_ns, frame_id), child_frame_id=child_frame_id)
    message.pose.pose = pose_to_msg(pose)
    message.pose.covariance = covariance_to_msg(pose_covariance)
    message.twist.twist.linear = vector_to_msg(twist[:3])
    message.twist.twist.angular = vector_to_msg(twist[3:6])
    message.twist.covariance = covariance_to_msg(twist_covariance)
    return message


def pose_with_covariance_from_msg(message: PoseWithCovarianceStamped) -> tuple[int, np.ndarray, np.ndarray]:
    """(stamp_ns, T_frame_base (7,), covariance (6, 6) in ROS order)."""
    return (stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose),
            covariance_from_msg(message.pose.covariance))


def pose_with_covariance_to_msg(stamp_ns: int, frame_id: str, pose: np.ndarray,
                                covariance: np.ndarray) -> PoseWithCovarianceStamped:
    message = PoseWithCovarianceStamped(header=header(stamp_ns, frame_id))
    message.pose.pose = pose_to_msg(pose)
    message.pose.covariance = covariance_to_msg(covariance)
    return message


def path_from_msg(message: Path) -> tuple[np.ndarray, np.ndarray]:
    """(stamps_ns (n,) int64, poses (n, 7) float64)."""
    stamps = np.array([stamp_from_msg(p.header.stamp) for p in message.poses], np.int64)
    poses = np.array([pose_from_msg(p.pose) for p in message.poses], np.float64).reshape(-1, 7)
    return stamps, poses


def path_to_msg(stamps_ns: np.ndarray, frame_id: str, poses: np.ndarray) -> Path:
    message = Path(header=header(stamps_ns[-1] if len(stamps_ns) else 0, frame_id))
    message.poses = [PoseStamped(header=header(stamp, frame_id), pose=pose_to_msg(pose))
                     for stamp, pose in zip(stamps_ns, poses)]
    return message


def bias_from_msg(message: ImuBias) -> tuple[int, np.ndarray, np.ndarray]:
    """(stamp_ns, bias (6,) gyroscope rad/s then accelerometer m/s^2, covariance (6, 6))."""
    bias = np.concatenate((vector_from_msg(message.gyroscope), vector_from_msg(message.accelerometer)))
    return stamp_from_msg(message.header.stamp), bias, covariance_from_msg(message.covariance)


def bias_to_msg(stamp_ns: int, frame_id: str, bias: np.ndarray, covariance: np.ndarray) -> ImuBias:
    return ImuBias(header=header(stamp_ns, frame_id), gyroscope=vector_to_msg(bias[:3]),
                   accelerometer=vector_to_msg(bias[3:6]), covariance=covariance_to_msg(covariance))


def preintegrated_from_msg(message: PreintegratedImu) -> np.ndarray:
    """The packed row (296,) of pypose_core.inertial: dt, q, v, p, bias, Jacobian 9x6, covariance 15x15."""
    return np.concatenate((
        [message.dt], quaternion_from_msg(message.delta_rotation), vector_from_msg(message.delta_velocity),
        vector_from_msg(message.delta_position), vector_from_msg(message.gyroscope_bias),
        vector_from_msg(message.accelerometer_bias), message.bias_jacobian, message.covariance))


def preintegrated_to_msg(row: np.ndarray, *, frame_id: str, from_id: int, to_id: int, from_stamp_ns: int,
                         to_stamp_ns: int, samples: int) -> PreintegratedImu:
    """Message of a packed row (296,) between two keyframes."""
    return PreintegratedImu(
        header=header(to_stamp_ns, frame_id), from_id=from_id, to_id=to_id, samples=samples,
        from_stamp=stamp_to_msg(from_stamp_ns), to_stamp=stamp_to_msg(to_stamp_ns), dt=float(row[0]),
        delta_rotation=quaternion_to_msg(row[1:5]), delta_velocity=vector_to_msg(row[5:8]),
        delta_position=vector_to_msg(row[8:11]), gyroscope_bias=vector_to_msg(row[11:14]),
        accelerometer_bias=vector_to_msg(row[14:17]), bias_jacobian=np.array(row[17:71]),
        covariance=np.array(row[71:296]))
