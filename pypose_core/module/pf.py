"""PyPose's module `pp.module.pf`."""
from pypose_core.filter.pf import PF

__all__ = ['PF']
