"""Factors by kind: whole variables, points seen from poses, GNSS, inertial, cameras, and the user's own."""
from .base import EMPTY, Factors, Places
from .camera import BalReprojection, Reprojection
from .gnss import Gnss
from .inertial import Imu
from .pose import Between, Prior
from .residual import Residual
from .seen import Bearing, Landmark, Range

__all__ = ['EMPTY', 'BalReprojection', 'Bearing', 'Between', 'Factors', 'Gnss', 'Imu', 'Landmark', 'Places', 'Prior',
           'Range', 'Reprojection', 'Residual']
