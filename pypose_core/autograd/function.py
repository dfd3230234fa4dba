"""Marks for functions whose rows are independent of each other."""
from __future__ import annotations

from collections.abc import Callable


def parallel_for_sparse_jacobian(function: Callable) -> Callable:
    """Mark a function of batches as one whose rows are independent of each other; returns it as it is.

    PyPose needs the mark to find sparse Jacobians. Here the optimizers find the structure by themselves
    (`optimizer.structure`), so programs with the mark run as they do without.
    """
    return function


psjac = parallel_for_sparse_jacobian

__all__ = ['parallel_for_sparse_jacobian', 'psjac']
