"""Convex programs as differentiable, batched layers."""
from .quadratic import QpResult, QpStatus, solve_qp

__all__ = ['QpResult', 'QpStatus', 'solve_qp']
