"""PyPose's module `pp.utils.stepper`."""
from pypose_core.control.stepper import ReduceToBason

__all__ = ['ReduceToBason']
