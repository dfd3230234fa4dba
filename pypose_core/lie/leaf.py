"""Gradients of leaves in the tangent space.

The gradient that reaches a leaf of group elements is one of coordinates.  A hook projects it to PyPose's
form: with f(δ) the loss at Exp(δ) X, ∂f/∂δ at 0 in the first dof numbers, zeros up to the storage width.
"""
from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pypose_core.lie.lietensor import LieTensor

_MARK = '_delivers_left_tangent'


def deliver_left_tangent(X: LieTensor) -> None:
    """Have the gradients of leaf X, if it holds group elements, delivered as left-tangent ones."""
    if X.ltype.on_manifold or not X.is_leaf or _MARK in X.__dict__:
        return
    to_leaf = type(X).operations.to_leaf
    # Weak: the hook belongs to X, and a cycle would keep X alive until the garbage collector runs.
    reference = weakref.ref(X)

    def project(gradient: Tensor) -> Tensor:
        return to_leaf(reference(), gradient)

    X.register_hook(project)
    X.__dict__[_MARK] = True
