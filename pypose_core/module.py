"""PyPose's namespace `pp.module`."""
from .control.lqr import LQR
from .control.mpc import MPC
from .dynamics.linear import LTI, LTV
from .dynamics.nonlinear import NLS
from .dynamics.system import System
from .inertial.imu_preintegrator import IMUPreintegrator

__all__ = ['LQR', 'LTI', 'LTV', 'MPC', 'NLS', 'IMUPreintegrator', 'System']
