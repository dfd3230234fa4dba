"""PyPose's module `pp.module.lqr`."""
from pypose_core.control.lqr import LQR

__all__ = ['LQR']
