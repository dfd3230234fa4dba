"""Quadratic programs as differentiable layers: dense in batches, and sparse over second-order cones."""
from .conic import ConicProgram
from .quadratic import QpResult, QpStatus, solve_qp

__all__ = ['ConicProgram', 'QpResult', 'QpStatus', 'solve_qp']
