"""Putting a running estimate at another pose without losing what it knows: velocity and biases."""
import numpy as np

from pypose_core.online.correction import quaternion_product, rotation_matrix

POSE = np.r_[0:3, 6:9]


def yaw(q: np.ndarray) -> float:
    """Heading of a quaternion x y z w, rad."""
    R = rotation_matrix(q)
    return float(np.arctan2(R[1, 0], R[0, 0]))


def placed_level(state: np.ndarray, covariance: np.ndarray, pose: np.ndarray,
                 pose_covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A NavState moved to the position and heading of a pose; roll, pitch, biases and the velocity seen from
    the body stay.

    Args:
        state, covariance: (16,), (15, 15).
        pose, pose_covariance: (7,) T_odom_imu; (6, 6) rotation (body), position.
    """
    angle = yaw(pose[3:]) - yaw(state[3:7])
    turn = np.array([0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])
    R_turn = rotation_matrix(turn)
    moved = state.copy()
    moved[:3] = pose[:3]
    moved[3:7] = quaternion_product(turn, state[3:7])
    moved[7:10] = R_turn @ state[7:10]

    jacobian = np.eye(15)
    jacobian[3:6, 3:6] = R_turn
    jacobian[6:9] = 0.0
    result = jacobian @ covariance @ jacobian.T
    result[6:9, 6:9] = pose_covariance[3:, 3:]
    R_body = rotation_matrix(moved[3:7])
    heading = R_body[2]                                   # the vertical, seen from the body
    result[:3, :3] += heading @ pose_covariance[:3, :3] @ heading * np.outer(heading, heading)
    return moved, result


def placed(state: np.ndarray, covariance: np.ndarray, pose: np.ndarray,
           pose_covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A NavState put at a pose, attitude included; biases and the velocity seen from the body stay."""
    R_turn = rotation_matrix(pose[3:]) @ rotation_matrix(state[3:7]).T
    moved = state.copy()
    moved[:7] = pose
    moved[7:10] = R_turn @ state[7:10]
    jacobian = np.eye(15)
    jacobian[3:6, 3:6] = R_turn
    jacobian[POSE] = 0.0
    result = jacobian @ covariance @ jacobian.T
    result[np.ix_(POSE, POSE)] = pose_covariance
    return moved, result
