"""Fast reading and writing of the fixed-layout messages that arrive or leave at IMU rate.

A serialized message (OMG CDR, XTypes 1.3 clause 7.4.3) is 4 bytes of encapsulation, then the fields in
order, each aligned to its size counted from after the encapsulation. In Imu, Odometry,
PoseWithCovarianceStamped and a TFMessage of one transform, everything that varies in size (the frame
names) comes before one contiguous block of doubles, and that block ends the message. A reader is
therefore one struct and one numpy view of the received bytes; a writer is a buffer of which the stamp and
the block are overwritten.

Deserializing an Imu with rclpy costs 20 us or more, filling and serializing an Odometry 40; these
cost 1 to 2 us. Bytes that are not little-endian plain CDR go through rclpy.
"""
import math
import struct
from typing import NamedTuple

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from pypose_ros.convert import path_from_msg

LITTLE_ENDIAN = b'\x00\x01'
NANO = 1_000_000_000
_HEADER = struct.Struct('<iII')         # sec, nanosec, length of frame_id with its terminating zero
_LENGTH = struct.Struct('<I')
_STAMP = struct.Struct('<iI')
_DOUBLE = np.dtype('<f8')

IMU_ORIENTATION, IMU_ORIENTATION_COVARIANCE = slice(0, 4), slice(4, 13)
IMU_GYROSCOPE, IMU_GYROSCOPE_COVARIANCE = slice(13, 16), slice(16, 25)
IMU_ACCELEROMETER, IMU_ACCELEROMETER_COVARIANCE = slice(25, 28), slice(28, 37)
ODOMETRY_POSE, ODOMETRY_POSE_COVARIANCE = slice(0, 7), slice(7, 43)
ODOMETRY_TWIST, ODOMETRY_TWIST_COVARIANCE = slice(43, 49), slice(49, 85)


class Received(NamedTuple):
    """A message as read: its header, and all its numbers in the order of the message's fields."""
    sec: int
    nanosec: int
    frame_id: str
    child_frame_id: str         # '' in messages that have none
    values: np.ndarray          # float64; read-only, shares memory with the received bytes

    @property
    def stamp_ns(self) -> int:
        return self.sec * NANO + self.nanosec


class CdrError(ValueError):
    """The bytes are not a message of this type; the text says why."""


class Reader:
    """Reads one message type from the bytes of a raw subscription.

    Args:
        message_type: Imu, Odometry or PoseWithCovarianceStamped.
    """

    def __init__(self, message_type: type):
        self.message_type = message_type
        self._count = _COUNT[message_type]
        self._has_child = message_type is Odometry
        self._names: dict[bytes, str] = {}

    def __call__(self, data: bytes) -> Received:
        """The received message; CdrError where `data` is too short or garbled."""
        if data[:2] != LITTLE_ENDIAN:
            return self._from_rclpy(data)
        try:
            sec, nanosec, length = _HEADER.unpack_from(data, 4)
            end = 16 + length
            frame_id = self._name(data[16:end])
            child = ''
            if self._has_child:
                start = (end + 3) // 4 * 4
                (length,) = _LENGTH.unpack_from(data, start)
                end = start + 4 + length
                child = self._name(data[start + 4:end])
            # The block is 8-aligned from after the encapsulation: (offset - 4) % 8 == 0.
            values = np.frombuffer(data, _DOUBLE, self._count, (end + 3) // 8 * 8 + 4)
        except (struct.error, ValueError, UnicodeDecodeError) as error:
            raise CdrError(f'{len(data)} bytes are no {self.message_type.__name__} ({error})') from None
        return Received(sec, nanosec, frame_id, child, values)

    def _name(self, raw: bytes) -> str:
        name = self._names.get(raw)
        if name is None:
            name = raw.rstrip(b'\x00').decode()
            if len(self._names) < 100:      # a sender that makes up names must not fill the memory
                self._names[raw] = name
        return name

    def _from_rclpy(self, data: bytes) -> Received:
        try:
            message = deserialize_message(data, self.message_type)
        except Exception as error:      # rclpy raises RMWError or RuntimeError, neither of which is public
            raise CdrError(f'{len(data)} bytes are no {self.message_type.__name__} ({error})') from None
        stamp, child = message.header.stamp, getattr(message, 'child_frame_id', '')
        native = serialize_message(message)
        values = np.frombuffer(native, np.float64, self._count, len(native) - 8 * self._count)
        return Received(stamp.sec, stamp.nanosec, message.header.frame_id, child, values)


_COUNT = {Imu: 37, Odometry: 85, PoseWithCovarianceStamped: 43}


def _strings(*names: str, start: int, end: int) -> bytes:
    """CDR strings from offset `start` of a message on, padded for what follows.

    Offsets count from after the encapsulation; `end` is the alignment asked for after the last. The
    padding is zero, so that equal messages are equal bytes (Fast CDR leaves what the memory held).
    """
    data = b''
    for name in names:
        data += b'\x00' * (-(start + len(data)) % 4)
        raw = name.encode() + b'\x00'
        data += _LENGTH.pack(len(raw)) + raw
    return data + b'\x00' * (-(start + len(data)) % end)


class _Writer:
    """A message whose stamp and trailing doubles are overwritten each time; all else is fixed."""

    def __init__(self, before: bytes, *names: str, count: int):
        fixed = before + bytes(8) + _strings(*names, start=len(before) + 8, end=8)
        self._data = bytearray(LITTLE_ENDIAN + b'\x00\x00' + fixed + bytes(8 * count))
        self._stamp_at = 4 + len(before)
        self._values = np.frombuffer(self._data, _DOUBLE, count, 4 + len(fixed))

    def _stamped(self, stamp_ns: int) -> bytes:
        _STAMP.pack_into(self._data, self._stamp_at, *divmod(stamp_ns, NANO))
        return bytes(self._data)

    def finite(self) -> bool:
        """Whether what was written last is free of NaN, infinity and numbers beyond 1e154."""
        return math.isfinite(self._values.dot(self._values))


class OdometryWriter(_Writer):
    """Serialized nav_msgs/Odometry between two fixed frames."""

    def __init__(self, frame_id: str, child_frame_id: str):
        super().__init__(b'', frame_id, child_frame_id, count=85)
        self._frames, self._stamp_ns = (frame_id, child_frame_id), 0
        self._pose, self._twist = self._values[ODOMETRY_POSE], self._values[ODOMETRY_TWIST]
        self._linear, self._angular = self._twist[:3], self._twist[3:]
        self._pose_covariance = self._values[ODOMETRY_POSE_COVARIANCE].reshape(6, 6)
        self._twist_covariance = self._values[ODOMETRY_TWIST_COVARIANCE].reshape(6, 6)

    def __call__(self, stamp_ns: int, pose: np.ndarray, pose_covariance: np.ndarray, linear: np.ndarray,
                 angular: np.ndarray, twist_covariance: np.ndarray) -> bytes:
        """Pose (7,) T_frame_child, twist (3,), (3,) in the child frame, covariances (6, 6) in ROS order."""
        self._pose[:] = pose
        self._pose_covariance[:] = pose_covariance
        self._linear[:] = linear
        self._angular[:] = angular
        self._twist_covariance[:] = twist_covariance
        self._stamp_ns = stamp_ns
        return self._stamped(stamp_ns)

    def received(self) -> Received:
        """What was written last, as a reader of it would have it."""
        return Received(*divmod(self._stamp_ns, NANO), *self._frames, self._values.copy())


class ImuWriter(_Writer):
    """Serialized sensor_msgs/Imu of one fixed frame."""

    def __init__(self, frame_id: str):
        super().__init__(b'', frame_id, count=37)

    def __call__(self, stamp_ns: int, values: np.ndarray) -> bytes:
        """All 37 numbers in the message's order; see the slices IMU_*."""
        self._values[:] = values
        return self._stamped(stamp_ns)


class TransformWriter(_Writer):
    """Serialized tf2_msgs/TFMessage of one transform between two fixed frames."""

    def __init__(self, frame_id: str, child_frame_id: str):
        super().__init__(_LENGTH.pack(1), frame_id, child_frame_id, count=7)

    def __call__(self, stamp_ns: int, transform: np.ndarray) -> bytes:
        """Transform (7,) T_frame_child = [t, q]."""
        self._values[:] = transform
        return self._stamped(stamp_ns)


def read_transforms(data: bytes) -> list[tuple[str, str, np.ndarray]]:
    """(frame_id, child_frame_id, T_frame_child (7,) [t, q]) of each transform of a serialized tf2_msgs/TFMessage."""
    if data[:2] != LITTLE_ENDIAN:
        return read_transforms(serialize_message(deserialize_message(data, TFMessage)))
    try:
        (count,), at, found = _LENGTH.unpack_from(data, 4), 8, []
        for _ in range(count):
            at += -at % 4
            end = at + 12 + _HEADER.unpack_from(data, at)[2]
            start = end + -end % 4
            stop = start + 4 + _LENGTH.unpack_from(data, start)[0]
            frame_id, child = (data[a:b].rstrip(b'\x00').decode() for a, b in ((at + 12, end), (start + 4, stop)))
            at = stop + (4 - stop) % 8
            found.append((frame_id, child, np.frombuffer(data, _DOUBLE, 7, at)))
            at += 56
    except (struct.error, ValueError) as error:
        raise CdrError(f'{len(data)} bytes are no TFMessage ({error})') from None
    return found


def read_path(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) ns and poses (N, 7) of a serialized nav_msgs/Path; CdrError where it is none.

    Where all poses have frame names of one length, as paths have, they are the rows of one array; to deserialize a
    thousand of them holds the interpreter for longer than two samples of an IMU are apart.
    """
    try:
        if data[:2] == LITTLE_ENDIAN:
            (length,) = _LENGTH.unpack_from(data, 12)
            count_at = (16 + length + 3) // 4 * 4
            (count,) = _LENGTH.unpack_from(data, count_at)
            if not count:
                return np.zeros(0, np.int64), np.zeros((0, 7))
            (length,) = _LENGTH.unpack_from(data, count_at + 12)
            # 8-aligned from after the encapsulation: (offset - 4) % 8 == 0.
            second_at = (count_at + 16 + length + 3) // 8 * 8 + 4 + 56
            row = np.dtype([('stamp', '<i4', 2), ('name', 'u1', (12 + length + 7) // 8 * 8 - 8), ('pose', '<f8', 7)])
            if len(data) == second_at + (count - 1) * row.itemsize:
                rows = np.frombuffer(data, row, count - 1, second_at)
                if (rows['name'][:, :4].copy().view('<u4') == length).all():
                    first = np.frombuffer(data, _DOUBLE, 7, second_at - 56)
                    stamps = np.concatenate([np.frombuffer(data, '<i4', 2, count_at + 4)[None], rows['stamp']])
                    # nanosec is below 2^31 in any stamp that is one.
                    return (stamps[:, 0].astype(np.int64) * NANO + stamps[:, 1],
                            np.concatenate([first[None], rows['pose']]))
        return path_from_msg(deserialize_message(data, Path))
    except Exception as error:      # rclpy raises RMWError or RuntimeError, neither of which is public
        raise CdrError(f'{len(data)} bytes are no Path ({error})') from None


def path_frame(data: bytes) -> str:
    """The frame of a serialized nav_msgs/Path; CdrError where it is none."""
    try:
        if data[:2] == LITTLE_ENDIAN:
            (length,) = _LENGTH.unpack_from(data, 12)
            return struct.unpack_from(f'{length}s', data, 16)[0][:-1].decode()
        return deserialize_message(data, Path).header.frame_id
    except Exception as error:      # as in read_path
        raise CdrError(f'{len(data)} bytes are no Path ({error})') from None


class PathWriter:
    """Serialized nav_msgs/Path that grows pose by pose, bounded in length.

    All poses but the first begin 8-aligned, so they are the rows of one structured array. At
    `capacity` every second pose is dropped and from then on only every second one kept, so a
    path of hours stays cheap to send and keeps its whole shape.
    """

    def __init__(self, frame_id: str, *, capacity: int = 1000):
        self._head = bytearray(LITTLE_ENDIAN + bytes(10) + _strings(frame_id, start=8, end=4) + bytes(4))
        self._first_at = len(self._head) - 4
        name = _strings(frame_id, start=8, end=8)
        row = np.dtype([('sec', '<i4'), ('nanosec', '<u4'), ('name', 'u1', len(name)), ('pose', '<f8', 7)])
        self._rows = np.zeros(capacity, row)
        self._rows['name'] = np.frombuffer(name, np.uint8)
        # Only the first pose can begin at 4 modulo 8; its padding then differs.
        self._first_name = _strings(frame_id, start=self._first_at + 8, end=8)
        self._count, self._every, self._skipped = 0, 1, 0

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        self._count, self._every, self._skipped = 0, 1, 0

    def append(self, stamp_ns: int, pose: np.ndarray) -> None:
        """Add a pose (7,) T_frame_child."""
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        if self._count == len(self._rows):
            half = self._rows[::2].copy()
            self._rows[:len(half)] = half
            self._count, self._every = len(half), self._every * 2
        row = self._rows[self._count]
        row['sec'], row['nanosec'] = divmod(stamp_ns, NANO)
        row['pose'] = pose
        self._count += 1

    def __call__(self, stamp_ns: int) -> bytes:
        """The message with all poses so far."""
        _STAMP.pack_into(self._head, 4, *divmod(stamp_ns, NANO))
        _LENGTH.pack_into(self._head, self._first_at, self._count)
        rows = self._rows[:self._count].tobytes()
        pose_at = self._rows.dtype.itemsize - 56
        return bytes(self._head) + rows[:8] + self._first_name[:len(rows)] + rows[pose_at:]
