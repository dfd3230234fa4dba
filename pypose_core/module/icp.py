"""PyPose's module `pp.module.icp`."""
from pypose_core.geometry.icp import ICP

__all__ = ['ICP']
