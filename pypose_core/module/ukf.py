"""PyPose's module `pp.module.ukf`."""
from pypose_core.filter.ukf import UKF

__all__ = ['UKF']
