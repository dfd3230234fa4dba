"""PyPose's module `pp.lietensor.basics`."""
from pypose_core.lie.convert import vec2skew
from pypose_core.lie.functional import add, add_, mul

__all__ = ['add', 'add_', 'mul', 'vec2skew']
