"""PyPose's namespace `pp.utils`."""
from .control.stepper import ReduceToBason

__all__ = ['ReduceToBason']
