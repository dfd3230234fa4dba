"""PyPose's module `pp.func.jac`."""
from pypose_core.func import jacrev

__all__ = ['jacrev']
