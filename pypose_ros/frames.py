"""Corrections brought to the frames of the estimate, through static transforms.

Covariances are ROS's 6x6: position, then rotation about the fixed axes of the header's frame.
"""
import numpy as np

from pypose_core.online.correction import compose, rotation_matrix
from pypose_ros.cdr import Received
from pypose_ros.tf import TransformBuffer


def planar(pose: np.ndarray) -> np.ndarray:
    """(3,) x, y, heading of a pose (7,); (3, N) of (7, N)."""
    x, y, z, w = pose[3:]
    return np.array([pose[0], pose[1], np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))])


def turned(covariance: np.ndarray, R_new_old: np.ndarray) -> np.ndarray:
    """A covariance (6, 6) along other fixed axes."""
    turn = np.kron(np.eye(2), R_new_old)
    return turn @ covariance @ turn.T


def moved(covariance: np.ndarray, lever: np.ndarray) -> np.ndarray:
    """Covariance (6, 6) of another point of the same body: δp' = δp + δθ × lever.

    Args:
        lever: (3,) from the old to the new point, in the fixed axes.
    """
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -np.cross(lever, -np.eye(3))      # columns e_i × lever
    return jacobian @ covariance @ jacobian.T


class Frames:
    """Where `pose` and `odometry` messages may come from.

    Args:
        transforms: static transforms.
        odom: frame of the estimate.
        base: frame whose pose is estimated.
    """

    def __init__(self, transforms: TransformBuffer, odom: str, base: str):
        self._transforms, self.odom, self.base = transforms, odom, base

    def absolute(self, message: Received) -> tuple[np.ndarray, np.ndarray]:
        """(T_odom_base (7,), covariance (6, 6)) of a PoseWithCovarianceStamped.

        Raises:
            LookupError: its frame is neither `odom` nor connected with it; a sentence.
        """
        pose, covariance = message.values[:7], message.values[7:43].reshape(6, 6)
        if message.frame_id.lstrip('/') == self.odom:
            return pose, covariance
        try:
            T_odom_frame = self._transforms.lookup(self.odom, message.frame_id)
        except LookupError as error:
            raise LookupError(f'it is in frame {message.frame_id!r}, odom_frame is {self.odom!r}, and no static '
                              f'transform connects them ({error})') from None
        return compose(T_odom_frame, pose), turned(covariance, rotation_matrix(T_odom_frame[3:]))

    def relative(self, message: Received) -> tuple[np.ndarray, np.ndarray]:
        """(T_ref_base (7,), covariance (6, 6)) of an Odometry; its header's frame is the reference.

        Raises:
            LookupError: its child frame is neither `base` nor connected with it; a sentence.
        """
        pose, covariance = message.values[:7], message.values[7:43].reshape(6, 6)
        if message.child_frame_id.lstrip('/') == self.base:
            return pose, covariance
        try:
            T_child_base = self._transforms.lookup(message.child_frame_id, self.base)
        except LookupError as error:
            raise LookupError(f'child_frame_id is {message.child_frame_id!r}, base_frame is {self.base!r}, and no '
                              f'static transform connects them ({error})') from None
        return compose(pose, T_child_base), moved(covariance, rotation_matrix(pose[3:]) @ T_child_base[:3])
