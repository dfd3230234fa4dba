"""Factors by kind: whole variables, frames on them, points seen from poses, GNSS, inertial, cameras, the user's own."""
from .base import EMPTY, Factors, Places
from .camera import BalReprojection, Reprojection
from .frame_pose import FrameBetween, FramePrior
from .gnss import Gnss
from .inertial import Imu
from .pose import Between, Prior
from .residual import Residual
from .seen import Bearing, Landmark, Range

__all__ = ['EMPTY', 'BalReprojection', 'Bearing', 'Between', 'Factors', 'FrameBetween', 'FramePrior', 'Gnss', 'Imu',
           'Landmark', 'Places', 'Prior', 'Range', 'Reprojection', 'Residual']
