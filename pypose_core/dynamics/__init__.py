"""Systems in discrete time, their linearization, integrators, and models of robots."""
from .cartpole import CartPole
from .integrators import Continuous, euler, exact, rk4
from .linear import LTI, LTV
from .nonlinear import NLS
from .planar import Ackermann, DifferentialDrive, Omnidirectional, Unicycle
from .quadrotor import Quadrotor
from .residual import Residual
from .system import System

__all__ = [
    'LTI', 'LTV', 'NLS', 'Ackermann', 'CartPole', 'Continuous', 'DifferentialDrive', 'Omnidirectional', 'Quadrotor',
    'Residual', 'System', 'Unicycle', 'euler', 'exact', 'rk4',
]
