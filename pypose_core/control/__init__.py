"""Controllers: LQR and MPC in PyPose's form, nonlinear optimal control with constraints, PID and pure pursuit."""
from .batched import BatchedResult, solve_batched
from .bounded import solve_bounded_lqr
from .ddp import DdpResult, solve_ddp
from .lookup import LookupTable
from .lqr import LQR
from .mpc import MPC
from .mppi import MPPI, MppiResult
from .ocp import OCP, OcpOptions
from .ocp_result import OcpResult, OcpStats, OcpStatus
from .pid import PID
from .problem import Box, Cost, LeastSquares, Soft, StageConstraint, StateConstraint
from .pure_pursuit import PurePursuit
from .riccati import LqrSolution, solve_lqr
from .state_space import Euclidean, Rotation, StateSpace
from .stepper import ReduceToBason

__all__ = ['LQR', 'MPC', 'MPPI', 'OCP', 'PID', 'BatchedResult', 'Box', 'Cost', 'DdpResult', 'Euclidean',
           'LeastSquares', 'LookupTable', 'LqrSolution', 'MppiResult', 'OcpOptions', 'OcpResult', 'OcpStats',
           'OcpStatus', 'PurePursuit', 'ReduceToBason', 'Rotation', 'Soft', 'StageConstraint', 'StateConstraint',
           'StateSpace', 'solve_batched', 'solve_bounded_lqr', 'solve_ddp', 'solve_lqr']
