"""PyPose's namespace `pp.module`."""
from pypose_core.control.lqr import LQR
from pypose_core.control.mpc import MPC
from pypose_core.dynamics.linear import LTI, LTV
from pypose_core.dynamics.nonlinear import NLS
from pypose_core.dynamics.system import System
from pypose_core.filter.ekf import EKF
from pypose_core.filter.pf import PF
from pypose_core.filter.ukf import UKF
from pypose_core.geometry.epnp import EPnP
from pypose_core.geometry.icp import ICP
from pypose_core.inertial.imu_preintegrator import IMUPreintegrator
from pypose_core.lie.loss import GeodesicLoss
from pypose_core.module import dynamics as dynamics
from pypose_core.module import ekf as ekf
from pypose_core.module import icp as icp
from pypose_core.module import imu_preintegrator as imu_preintegrator
from pypose_core.module import loss as loss
from pypose_core.module import lqr as lqr
from pypose_core.module import mpc as mpc
from pypose_core.module import pf as pf
from pypose_core.module import pnp as pnp
from pypose_core.module import ukf as ukf

__all__ = [
    'EKF', 'EPnP', 'ICP', 'LQR', 'LTI', 'LTV', 'MPC', 'NLS', 'PF', 'UKF', 'GeodesicLoss', 'IMUPreintegrator', 'System',
]
