"""PyPose's module `pp.function.checking`."""
from pypose_core.lie.checking import hasnan, is_lietensor, is_SE3

__all__ = ['hasnan', 'is_SE3', 'is_lietensor']
