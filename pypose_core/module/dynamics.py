"""PyPose's module `pp.module.dynamics`."""
from pypose_core.dynamics.linear import LTI, LTV
from pypose_core.dynamics.nonlinear import NLS
from pypose_core.dynamics.runsys import runsys, toBTN
from pypose_core.dynamics.system import System

__all__ = ['LTI', 'LTV', 'NLS', 'System', 'runsys', 'toBTN']
