"""Factors by kind: whole variables, points seen from poses, GNSS, inertial, cameras, and the user's own."""
from .base import EMPTY, Factors, Places
from .pose import Between, Prior
from .residual import Residual

__all__ = ['EMPTY', 'Between', 'Factors', 'Places', 'Prior', 'Residual']
