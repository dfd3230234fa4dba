"""PyPose's module `pp.function.linalg`."""
from pypose_core.lie.linalg import bmv, bvmv, bvv

__all__ = ['bmv', 'bvmv', 'bvv']
