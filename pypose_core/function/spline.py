"""PyPose's module `pp.function.spline`."""
from pypose_core.geometry.spline import bspline, chspline

__all__ = ['bspline', 'chspline']
