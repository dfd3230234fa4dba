"""Controllers: LQR and MPC in PyPose's form, the Riccati recursion under them, PID and pure pursuit."""
from .bounded import solve_bounded_lqr
from .lqr import LQR
from .mpc import MPC
from .pid import PID
from .pure_pursuit import PurePursuit
from .riccati import LqrSolution, solve_lqr
from .stepper import ReduceToBason

__all__ = ['LQR', 'MPC', 'PID', 'LqrSolution', 'PurePursuit', 'ReduceToBason', 'solve_bounded_lqr', 'solve_lqr']
