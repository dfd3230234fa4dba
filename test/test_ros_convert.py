"""Message to array and back is the identity, in both directions."""
import numpy as np
import pytest
from geometry_msgs.msg import Point

from pypose_ros import convert

STAMP = 1_700_000_000_123_456_789
rng = np.random.default_rng(3)
POSE = np.array([1.0, -2.0, 3.0, 0.5, 0.5, -0.5, 0.5])


def symmetric(size: int) -> np.ndarray:
    a = rng.normal(size=(size, size))
    return a @ a.T


@pytest.mark.parametrize('stamp', [0, 1, 999_999_999, 1_000_000_000, STAMP, -1])
def test_stamps_round_trip_without_loss(stamp):
    message = convert.stamp_to_msg(stamp)
    assert 0 <= message.nanosec < 1_000_000_000
    assert convert.stamp_from_msg(message) == stamp


def test_vectors_round_trip():
    np.testing.assert_array_equal(convert.vector_from_msg(convert.vector_to_msg(POSE[:3])), POSE[:3])
    point = convert.point_to_msg(POSE[:3])
    assert isinstance(point, Point)
    np.testing.assert_array_equal(convert.vector_from_msg(point), POSE[:3])


def test_quaternions_round_trip_in_the_order_xyzw():
    message = convert.quaternion_to_msg(POSE[3:])
    assert (message.x, message.y, message.z, message.w) == tuple(POSE[3:])
    np.testing.assert_array_equal(convert.quaternion_from_msg(message), POSE[3:])


def test_poses_round_trip():
    np.testing.assert_array_equal(convert.pose_from_msg(convert.pose_to_msg(POSE)), POSE)


def test_transforms_round_trip():
    message = convert.transform_to_msg(STAMP, 'odom', 'base_link', POSE)
    assert (message.header.frame_id, message.child_frame_id) == ('odom', 'base_link')
    assert convert.stamp_from_msg(message.header.stamp) == STAMP
    np.testing.assert_array_equal(convert.transform_from_msg(message.transform), POSE)


@pytest.mark.parametrize('size', [3, 6, 9])
def test_covariances_round_trip_row_major(size):
    matrix = rng.normal(size=(size, size))
    flat = convert.covariance_to_msg(matrix)
    assert flat[1] == matrix[0, 1]
    np.testing.assert_array_equal(convert.covariance_from_msg(flat), matrix)


def test_imu_round_trips():
    sample = rng.normal(size=6)
    message = convert.imu_to_msg(STAMP, 'imu', sample, POSE[3:])
    stamp, frame, back, orientation = convert.imu_from_msg(message)
    assert (stamp, frame) == (STAMP, 'imu')
    np.testing.assert_array_equal(back, sample)
    np.testing.assert_array_equal(orientation, POSE[3:])


def test_an_imu_without_orientation_says_so():
    assert convert.imu_to_msg(STAMP, 'imu', np.zeros(6)).orientation_covariance[0] == -1.0


def test_odometry_round_trips():
    values = (STAMP, POSE, symmetric(6), rng.normal(size=6), symmetric(6))
    message = convert.odometry_to_msg(STAMP, 'odom', 'base_link', *values[1:])
    assert (message.header.frame_id, message.child_frame_id) == ('odom', 'base_link')
    for got, want in zip(convert.odometry_from_msg(message), values):
        np.testing.assert_array_equal(got, want)


def test_poses_with_covariance_round_trip():
    values = (STAMP, POSE, symmetric(6))
    message = convert.pose_with_covariance_to_msg(STAMP, 'map', *values[1:])
    for got, want in zip(convert.pose_with_covariance_from_msg(message), values):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize('count', [0, 1, 4])
def test_paths_round_trip(count):
    stamps, poses = STAMP + np.arange(count), rng.normal(size=(count, 7))
    back = convert.path_from_msg(convert.path_to_msg(stamps, 'odom', poses))
    np.testing.assert_array_equal(back[0], stamps)
    np.testing.assert_array_equal(back[1], poses)


def test_biases_round_trip():
    values = (STAMP, rng.normal(size=6), symmetric(6))
    for got, want in zip(convert.bias_from_msg(convert.bias_to_msg(values[0], 'imu', *values[1:])), values):
        np.testing.assert_array_equal(got, want)


def test_preintegrated_rows_round_trip():
    row = rng.normal(size=296)
    message = convert.preintegrated_to_msg(row, frame_id='imu', from_id=3, to_id=4, from_stamp_ns=STAMP,
                                           to_stamp_ns=STAMP + 100, samples=20)
    assert (message.from_id, message.to_id, message.samples) == (3, 4, 20)
    assert convert.stamp_from_msg(message.header.stamp) == STAMP + 100
    assert convert.stamp_from_msg(message.to_stamp) == STAMP + 100
    np.testing.assert_array_equal(convert.preintegrated_from_msg(message), row)
