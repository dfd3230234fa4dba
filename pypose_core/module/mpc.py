"""PyPose's module `pp.module.mpc`."""
from pypose_core.control.mpc import MPC

__all__ = ['MPC']
