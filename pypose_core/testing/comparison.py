"""PyPose's module `pp.testing.comparison`."""
from pypose_core.testing import assert_close

__all__ = ['assert_close']
