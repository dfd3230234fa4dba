"""PyPose's namespace `pp.utils`."""
from pypose_core.control.stepper import ReduceToBason
from pypose_core.utils import stepper as stepper

__all__ = ['ReduceToBason']
