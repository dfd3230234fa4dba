"""Topics of a bag as arrays."""
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import BagError
from .reader import BagReader, Message, Topic

IMU = 'sensor_msgs/msg/Imu'
ODOMETRY = 'nav_msgs/msg/Odometry'
POSE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
POSE_STAMPED = 'geometry_msgs/msg/PoseStamped'
BIAS = 'pypose_ros/msg/ImuBias'


@dataclass
class Series:
    """What all stamped topics share; N messages in the order of recording.

    Stamps are the header's; `log_ns` is the time of recording. `frames` are the distinct frame ids.
    """

    topic: str
    stamps_ns: NDArray[np.int64] = field(repr=False)
    log_ns: NDArray[np.int64] = field(repr=False)
    frames: list[str]


@dataclass
class ImuSeries(Series):
    """Samples (N, 6) [rad/s, m/s^2] in the IMU frame; orientation (N, 4); covariances (N, 3, 9)
    of orientation, rate and force, row-major as published."""

    samples: NDArray[np.float64] = field(repr=False)
    orientation: NDArray[np.float64] = field(repr=False)
    covariances: NDArray[np.float64] = field(repr=False)

    @property
    def has_orientation(self) -> bool:
        """Whether the driver fills in orientation (sensor_msgs/Imu: covariance[0] = -1 means no)."""
        norm = np.linalg.norm(self.orientation, axis=1)
        return bool(len(norm) and (self.covariances[:, 0, 0] != -1).all() and (np.abs(norm - 1) < 1e-3).all())


@dataclass
class PoseSeries(Series):
    """Poses (N, 7) of `child_frames` in `frames`, covariance (N, 6, 6) in ROS order (zeros: unknown)."""

    child_frames: list[str]
    poses: NDArray[np.float64] = field(repr=False)
    covariances: NDArray[np.float64] = field(repr=False)
    has_covariance: bool
    """Whether the type carries one (PoseStamped does not)."""


@dataclass
class OdometrySeries(PoseSeries):
    """With twists (N, 6) [linear, angular] in the child frame and their covariance (N, 6, 6)."""

    twists: NDArray[np.float64] = field(repr=False)
    twist_covariances: NDArray[np.float64] = field(repr=False)


@dataclass
class BiasSeries(Series):
    """Biases (N, 6) [gyroscope, accelerometer] and covariance (N, 6, 6)."""

    biases: NDArray[np.float64] = field(repr=False)
    covariances: NDArray[np.float64] = field(repr=False)


def xyz(value) -> tuple[float, float, float]:
    return value.x, value.y, value.z


def xyzw(value) -> tuple[float, float, float, float]:
    return value.x, value.y, value.z, value.w


def stamp_ns(header) -> int:
    return header.stamp.sec * 10 ** 9 + header.stamp.nanosec


def _imu_row(m) -> list:
    return [*xyz(m.angular_velocity), *xyz(m.linear_acceleration), *xyzw(m.orientation),
            *m.orientation_covariance, *m.angular_velocity_covariance, *m.linear_acceleration_covariance]


def _odometry_row(m) -> list:
    pose, twist = m.pose.pose, m.twist.twist
    return [*xyz(pose.position), *xyzw(pose.orientation), *xyz(twist.linear), *xyz(twist.angular),
            *m.pose.covariance, *m.twist.covariance]


_ROWS: dict[str, tuple[int, Callable]] = {
    IMU: (37, _imu_row),
    ODOMETRY: (85, _odometry_row),
    POSE: (43, lambda m: [*xyz(m.pose.pose.position), *xyzw(m.pose.pose.orientation), *m.pose.covariance]),
    POSE_STAMPED: (7, lambda m: [*xyz(m.pose.position), *xyzw(m.pose.orientation)]),
    BIAS: (42, lambda m: [*xyz(m.gyroscope), *xyz(m.accelerometer), *m.covariance]),
}


def read_series(bag: BagReader, topics: Iterable[str]) -> dict[str, Series]:
    """Read the topics in one pass; Imu, Odometry, PoseWithCovarianceStamped, PoseStamped and ImuBias.

    Raises:
        BagError: a topic is not in the bag, is of another type, or the bag is damaged.
    """
    kinds: dict[str, Topic] = {topic.name: topic for topic in bag.topics}
    found: dict[str, tuple[list, list, list, set, set]] = {}
    for name in topics:
        if name not in kinds:
            raise BagError(f'{bag.path}: no topic {name}; it has {", ".join(kinds) or "none"}')
        if kinds[name].msgtype not in _ROWS:
            raise BagError(f'{bag.path}: topic {name} is of type {kinds[name].msgtype}, wanted one of '
                           f'{", ".join(_ROWS)}')
        found[name] = ([], [], [], set(), set())
    for message in bag.messages(set(found)):
        _append(found[message.topic], message, bag)
    return {name: _series(name, kinds[name].msgtype, *columns) for name, columns in found.items()}


S = TypeVar('S', bound=Series)


def read_one(bag: BagReader, topic: str, kind: type[S]) -> S:
    """read_series() of one topic.

    Raises:
        BagError: as there, or the topic is of another kind.
    """
    series = read_series(bag, [topic])[topic]
    if not isinstance(series, kind):
        raise BagError(f'{bag.path}: topic {topic} has no {kind.__name__.removesuffix("Series").lower()}')
    return series


def _append(columns, message: Message, bag: BagReader) -> None:
    stamps, logs, rows, frames, children = columns
    decoded = bag.decode(message)
    stamps.append(stamp_ns(decoded.header))
    logs.append(message.log_ns)
    rows.append(_ROWS[message.msgtype][1](decoded))
    frames.add(decoded.header.frame_id)
    children.add(getattr(decoded, 'child_frame_id', ''))


def _series(topic: str, msgtype: str, stamps, logs, rows, frames, children) -> Series:
    data = np.array(rows, dtype=np.float64).reshape(len(rows), _ROWS[msgtype][0])
    common = topic, np.array(stamps, dtype=np.int64), np.array(logs, dtype=np.int64), sorted(frames)
    if msgtype == IMU:
        return ImuSeries(*common, samples=data[:, :6], orientation=data[:, 6:10],
                         covariances=data[:, 10:].reshape(-1, 3, 9))
    if msgtype == BIAS:
        return BiasSeries(*common, biases=data[:, :6], covariances=data[:, 6:].reshape(-1, 6, 6))
    names, known = sorted(children), msgtype != POSE_STAMPED
    if msgtype == ODOMETRY:
        return OdometrySeries(*common, names, data[:, :7], data[:, 13:49].reshape(-1, 6, 6), known,
                              twists=data[:, 7:13], twist_covariances=data[:, 49:].reshape(-1, 6, 6))
    covariances = data[:, 7:].reshape(-1, 6, 6) if msgtype == POSE else np.zeros((len(data), 6, 6))
    return PoseSeries(*common, names, data[:, :7], covariances, known)
