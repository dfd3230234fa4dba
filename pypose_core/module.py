"""PyPose's namespace `pp.module`."""
from .control.lqr import LQR
from .control.mpc import MPC
from .dynamics.linear import LTI, LTV
from .dynamics.nonlinear import NLS
from .dynamics.system import System
from .filter.ekf import EKF
from .filter.pf import PF
from .filter.ukf import UKF
from .geometry.epnp import EPnP
from .geometry.icp import ICP
from .inertial.imu_preintegrator import IMUPreintegrator
from .lie.loss import GeodesicLoss

__all__ = [
    'EKF', 'EPnP', 'ICP', 'LQR', 'LTI', 'LTV', 'MPC', 'NLS', 'PF', 'UKF', 'GeodesicLoss', 'IMUPreintegrator', 'System',
]
