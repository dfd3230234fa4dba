"""Fast CDR: what is read is what rclpy reads, what is written is byte by byte what rclpy writes."""
import struct

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from pypose_ros import cdr, cdr_arrays, convert

STAMP = 1_403_715_273_262_142_976
FRAMES = ['', 'a', 'ab', 'abc', 'imu', 'odom', 'imu_link', 'base_link', 'robot_1/imu_link', 'é']
rng = np.random.default_rng(7)
POSE = np.array([1.5, -2.25, 3.0, 0.5, -0.5, 0.5, 0.5])


def imu(frame: str) -> Imu:
    message = convert.imu_to_msg(STAMP, frame, rng.normal(size=6), POSE[3:])
    message.orientation_covariance = rng.normal(size=9)
    message.angular_velocity_covariance = rng.normal(size=9)
    message.linear_acceleration_covariance = rng.normal(size=9)
    return message


def odometry(frame: str, child: str) -> Odometry:
    return convert.odometry_to_msg(STAMP, frame, child, POSE, rng.normal(size=(6, 6)), rng.normal(size=6),
                                   rng.normal(size=(6, 6)))


def imu_values(message: Imu) -> np.ndarray:
    stamp, frame, sample, orientation = convert.imu_from_msg(message)
    return np.concatenate((
        orientation, message.orientation_covariance, sample[:3], message.angular_velocity_covariance,
        sample[3:], message.linear_acceleration_covariance))


def without_padding(data: bytes, *strings_at: int, end: int = 8) -> bytes:
    """The same bytes with zeros between a string's end and the next field; Fast CDR leaves garbage there.

    `strings_at`: offsets of strings' lengths counted from after the encapsulation, each 4-aligned.
    """
    clean = bytearray(data)
    for k, start in enumerate(strings_at):
        (size,) = struct.unpack_from('<I', data, 4 + start)
        stop = start + 4 + size
        alignment = end if k == len(strings_at) - 1 else 4
        pad = -stop % alignment
        clean[4 + stop:4 + stop + pad] = bytes(pad)
    return bytes(clean)


def big_endian(data: bytes, doubles: int, words: list[tuple[int, int]]) -> bytes:
    """The same message as a big-endian machine would send it: `words` are (offset, size) of integers."""
    swapped = bytearray(data)
    swapped[:2] = b'\x00\x00'
    for offset, size in words:
        swapped[offset:offset + size] = data[offset:offset + size][::-1]
    start = len(data) - 8 * doubles
    swapped[start:] = np.frombuffer(data, '<f8', doubles, start).astype('>f8').tobytes()
    return bytes(swapped)


@pytest.mark.parametrize('frame', FRAMES)
def test_imu_reads_as_rclpy_does(frame):
    message = imu(frame)
    read = cdr.Reader(Imu)(serialize_message(message))
    assert (read.stamp_ns, read.frame_id, read.child_frame_id) == (STAMP, frame, '')
    np.testing.assert_array_equal(read.values, imu_values(message))


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('child', FRAMES)
def test_odometry_reads_as_rclpy_does(frame, child):
    message = odometry(frame, child)
    read = cdr.Reader(Odometry)(serialize_message(message))
    stamp, pose, pose_covariance, twist, twist_covariance = convert.odometry_from_msg(message)
    assert (read.stamp_ns, read.frame_id, read.child_frame_id) == (stamp, frame, child)
    np.testing.assert_array_equal(read.values[cdr.ODOMETRY_POSE], pose)
    np.testing.assert_array_equal(read.values[cdr.ODOMETRY_POSE_COVARIANCE], pose_covariance.ravel())
    np.testing.assert_array_equal(read.values[cdr.ODOMETRY_TWIST], twist)
    np.testing.assert_array_equal(read.values[cdr.ODOMETRY_TWIST_COVARIANCE], twist_covariance.ravel())


@pytest.mark.parametrize('frame', FRAMES)
def test_pose_reads_as_rclpy_does(frame):
    message = convert.pose_with_covariance_to_msg(STAMP, frame, POSE, rng.normal(size=(6, 6)))
    read = cdr.Reader(PoseWithCovarianceStamped)(serialize_message(message))
    assert (read.stamp_ns, read.frame_id) == (STAMP, frame)
    np.testing.assert_array_equal(read.values[:7], POSE)
    np.testing.assert_array_equal(read.values[7:], message.pose.covariance)


def test_big_endian_bytes_read_the_same():
    little = serialize_message(imu('imu_link'))
    big = big_endian(little, 37, [(4, 4), (8, 4), (12, 4)])
    read, want = cdr.Reader(Imu)(big), cdr.Reader(Imu)(little)
    assert (read.stamp_ns, read.frame_id) == (want.stamp_ns, 'imu_link')
    np.testing.assert_array_equal(read.values, want.values)


def test_nanoseconds_beyond_a_second_are_left_for_the_caller_to_refuse():
    message = imu('imu')
    message.header.stamp.nanosec = 1_000_000_001
    assert cdr.Reader(Imu)(serialize_message(message)).nanosec == 1_000_000_001


@pytest.mark.parametrize('kind', [Imu, Odometry, PoseWithCovarianceStamped])
def test_truncated_or_foreign_bytes_raise_a_clear_error(kind):
    data = serialize_message(kind())
    reader = cdr.Reader(kind)
    garbage = b'\x00\x01\x00\x00' + b'\xff' * 400
    for bad in (b'', data[:3], data[:10], data[:-1], garbage, b'\x07\x09' + data[2:30]):
        with pytest.raises(cdr.CdrError, match=kind.__name__):
            reader(bad)


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('child', FRAMES)
def test_written_odometry_is_byte_equal_to_rclpys(frame, child):
    write = cdr.OdometryWriter(frame, child)
    for stamp in (STAMP, STAMP + 5_000_000):
        message = odometry(frame, child)
        message.header.stamp = convert.stamp_to_msg(stamp)
        _, pose, pose_covariance, twist, twist_covariance = convert.odometry_from_msg(message)
        data = write(stamp, pose, pose_covariance, twist[:3], twist[3:], twist_covariance)
        child_at = (12 + len(frame.encode()) + 1 + 3) // 4 * 4
        assert data == without_padding(serialize_message(message), 8, child_at)


@pytest.mark.parametrize('frame', FRAMES)
def test_written_imu_is_byte_equal_to_rclpys(frame):
    message = imu(frame)
    assert cdr.ImuWriter(frame)(STAMP, imu_values(message)) == without_padding(serialize_message(message), 8)


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('child', FRAMES)
def test_written_transform_is_byte_equal_to_rclpys(frame, child):
    message = TFMessage(transforms=[convert.transform_to_msg(STAMP, frame, child, POSE)])
    child_at = (16 + len(frame.encode()) + 1 + 3) // 4 * 4
    want = without_padding(serialize_message(message), 12, child_at)
    assert cdr.TransformWriter(frame, child)(STAMP, POSE) == want


@pytest.mark.parametrize('frame', FRAMES)
@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_written_path_is_byte_equal_to_rclpys(frame, count):
    write = cdr.PathWriter(frame)
    stamps, poses = STAMP + np.arange(count) * 1_000_000, rng.normal(size=(count, 7))
    for stamp, pose in zip(stamps, poses):
        write.append(int(stamp), pose)
    message = convert.path_to_msg(stamps, frame, poses)
    message.header.stamp = convert.stamp_to_msg(STAMP)
    want = without_padding(serialize_message(message), 8, end=4)
    at = (12 + len(frame.encode()) + 1 + 3) // 4 * 4 + 4
    for _ in range(count):
        want = without_padding(want, at + 8)
        at = (at + 12 + len(frame.encode()) + 1 + 7) // 8 * 8 + 56
    assert write(STAMP) == want


def test_a_long_path_stays_bounded_evenly_spaced_and_complete():
    write = cdr.PathWriter('odom', capacity=64)
    for k in range(1000):
        write.append(STAMP + k, np.full(7, float(k)))
    stamps, poses = convert.path_from_msg(deserialize_message(write(STAMP), Path))
    assert 16 < len(stamps) <= 64 and len(write) == len(stamps)
    assert stamps[0] == STAMP
    steps = np.diff(stamps)
    assert (steps == steps[0]).all() and stamps[-1] > STAMP + 1000 - 2 * steps[0]
    np.testing.assert_array_equal(poses[:, 0], stamps - STAMP)


@pytest.mark.parametrize('frame', ['m', 'map', 'abcdefg', 'abcdefgh', 'odom_of_robot'])
@pytest.mark.parametrize('count', [0, 1, 2, 300])
def test_a_path_is_read_as_rclpy_reads_it_whoever_wrote_it(frame, count):
    rng = np.random.default_rng(count)
    stamps, poses = np.sort(rng.integers(1, 10 ** 18, count)), rng.normal(size=(count, 7))
    ours = bytes(cdr_arrays.path(5, frame, stamps, poses))
    message = deserialize_message(ours, Path)
    if count > 1:
        message.poses[1].header.frame_id = 'another_one'
    for data in (ours, serialize_message(deserialize_message(ours, Path)), serialize_message(message)):
        read = cdr.read_path(data)
        np.testing.assert_array_equal(read[0], stamps)
        np.testing.assert_array_equal(read[1], poses)
        assert cdr.path_frame(data) == frame


def test_what_is_no_path_is_refused():
    data = bytes(cdr_arrays.path(5, 'map', np.arange(1, 4), np.ones((3, 7))))
    for bad in (b'', data[:20], data[:-3]):
        with pytest.raises(cdr.CdrError, match='no Path'):
            cdr.read_path(bad)
    with pytest.raises(cdr.CdrError, match='no Path'):
        cdr.path_frame(data[:18])
