"""PyPose's module `pp.module.ekf`."""
from pypose_core.filter.ekf import EKF

__all__ = ['EKF']
