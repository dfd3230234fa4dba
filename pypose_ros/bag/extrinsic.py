"""Where in the robot the IMU sits: from the parameters, or from the bag's static transforms."""
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .errors import BagError
from .reader import BagReader
from .recording import xyz, xyzw

_STATIC = ('/tf_static', 'tf_static')


def find_extrinsic(bag: BagReader, imu_frame: str, base_frame: str,
                   given: Sequence[float] = ()) -> NDArray[np.float64]:
    """T_base_imu (7,).

    Raises:
        BagError: it is neither given nor in the bag; it is never silently taken as identity.
    """
    imu_frame, base_frame = imu_frame.lstrip('/'), base_frame.lstrip('/')
    if len(given):
        return np.array(given, dtype=np.float64)
    if imu_frame == base_frame:
        return np.array([0, 0, 0, 0, 0, 0, 1.0])
    parents = _static_transforms(bag)
    root_imu, T_root_imu = _to_root(parents, imu_frame)
    root_base, T_root_base = _to_root(parents, base_frame)
    if root_imu != root_base:
        raise BagError(f'{bag.path}: /tf_static does not connect {base_frame} and the IMU\'s frame '
                       f'{imu_frame}; '
                       'give the parameter extrinsic_imu_to_base [x y z qx qy qz qw] (config file, or '
                       '-p extrinsic_imu_to_base:=[0,0,0,0,0,0,1])')
    T = np.linalg.inv(T_root_base) @ T_root_imu
    return np.concatenate([T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_quat()])


def _static_transforms(bag: BagReader) -> dict[str, tuple[str, NDArray]]:
    """Parent and T_parent_child (4, 4) by child."""
    parents = {}
    for message in bag.messages(_STATIC):
        for transform in bag.decode(message).transforms:
            T = np.eye(4)
            q = np.array(xyzw(transform.transform.rotation))
            if not abs(np.linalg.norm(q) - 1) < 1e-3:
                raise BagError(f'{bag.path}: /tf_static: {transform.child_frame_id} has no unit quaternion')
            T[:3, :3] = Rotation.from_quat(q).as_matrix()
            T[:3, 3] = xyz(transform.transform.translation)
            parents[transform.child_frame_id.lstrip('/')] = transform.header.frame_id.lstrip('/'), T
    return parents


def _to_root(parents, frame: str) -> tuple[str, NDArray]:
    T, seen = np.eye(4), {frame}
    while frame in parents:
        frame, T_parent = parents[frame]
        T = T_parent @ T
        if frame in seen:
            raise BagError(f'/tf_static has a loop at {frame}')
        seen.add(frame)
    return frame, T
