"""Corrections of other frames: pose and covariance against samples of the perturbed pose."""
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pypose_ros.cdr import Received
from pypose_ros.frames import Frames
from pypose_ros.tf import TransformBuffer, compose, inverse

rng = np.random.default_rng(11)
SIGMA = np.array([0.02, 0.01, 0.03, 0.002, 0.004, 0.003])


def random_pose() -> np.ndarray:
    return np.concatenate((rng.normal(size=3), Rotation.random(random_state=4).as_quat()))


def perturbed(pose: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Position moved and attitude turned about the fixed axes: what ROS's covariance speaks of."""
    turned = Rotation.from_rotvec(error[3:]) * Rotation.from_quat(pose[3:])
    return np.concatenate((pose[:3] + error[:3], turned.as_quat()))


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    turn = Rotation.from_quat(a[3:]) * Rotation.from_quat(b[3:]).inv()
    return np.concatenate((a[:3] - b[:3], turn.as_rotvec()))


def frames(parent: str, child: str, T: np.ndarray) -> Frames:
    buffer = TransformBuffer()
    assert buffer.insert([(parent, child, T)]) == []
    return Frames(buffer, 'odom', 'base_link')


@pytest.mark.parametrize('kind', ['absolute', 'relative'])
def test_pose_and_covariance_follow_the_frame(kind):
    T, pose = random_pose(), random_pose()
    mixing = rng.normal(size=(6, 6))
    root = np.diag(SIGMA) @ (np.eye(6) + 0.2 * mixing)
    covariance = root @ root.T
    values = np.concatenate((pose, covariance.ravel()))
    if kind == 'absolute':
        known, message = frames('odom', 'mocap', T), Received(1, 0, 'mocap', '', values)

        def place(x):
            return compose(T, x)
    else:
        known, message = frames('base_link', 'lidar', T), Received(1, 0, 'lidar_odom', 'lidar', values)

        def place(x):
            return compose(x, inverse(T))
    placed, found = getattr(known, kind)(message)
    np.testing.assert_allclose(placed, place(pose), atol=1e-12)
    # First order: the Jacobian of the placed pose's error in the pose's, column by column.
    step = 1e-6
    jacobian = np.stack([difference(place(perturbed(pose, step * e)), place(perturbed(pose, -step * e))) / (2 * step)
                         for e in np.eye(6)], axis=1)
    np.testing.assert_allclose(found, jacobian @ covariance @ jacobian.T, rtol=1e-6, atol=1e-12)


def test_corrections_in_our_own_frames_pass_untouched():
    known = frames('a', 'b', random_pose())
    values = rng.normal(size=43)
    pose, covariance = known.absolute(Received(1, 0, '/odom', '', values))
    np.testing.assert_array_equal(np.concatenate((pose, covariance.ravel())), values)
    pose, covariance = known.relative(Received(1, 0, 'any', 'base_link', values))
    np.testing.assert_array_equal(np.concatenate((pose, covariance.ravel())), values)


def test_frames_that_nothing_connects_are_refused_with_both_names():
    known = frames('a', 'b', random_pose())
    with pytest.raises(LookupError, match="'map'.*'odom'"):
        known.absolute(Received(1, 0, 'map', '', np.zeros(43)))
    with pytest.raises(LookupError, match="'lidar'.*'base_link'"):
        known.relative(Received(1, 0, 'map', 'lidar', np.zeros(43)))
