"""Gradients of leaves in the tangent space.

The gradient that reaches a leaf of group elements is one of coordinates.  A hook projects it to PyPose's
form: with f(δ) the loss at Exp(δ) X, ∂f/∂δ at 0 in the first dof numbers, zeros up to the storage width.

The hook is native where the kernels are (csrc/lie/leaf.cpp).  A tensor holds hooks of C++ or of Python, and drops
the former when the first of the latter comes: register_hook() puts a hook of Python in its place before that.
"""
from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.lie.dispatch import call_plain, eager

if TYPE_CHECKING:
    from pypose_core.lie.lietensor import LieTensor

_MARK = '_delivers_left_tangent'
_register_hook = Tensor.register_hook


def deliver_left_tangent(X: LieTensor) -> None:
    """Have the gradients of leaf X, if it holds group elements, delivered as left-tangent ones."""
    if X.ltype.on_manifold or not X.is_leaf or _MARK in X.__dict__:
        return
    if native.available and eager():
        call_plain(torch.ops.pypose.deliver_left_tangent, (), (X, X.ltype.name))
        X.__dict__[_MARK] = 'native'
    else:
        _deliver_in_python(X)


def register_hook(X: LieTensor, hook):
    """Tensor.register_hook(); such hooks see the gradient that is delivered."""
    if X.__dict__.get(_MARK) == 'native':
        _deliver_in_python(X)
    return call_plain(_register_hook, (), (X, hook))


def _deliver_in_python(X: LieTensor) -> None:
    to_leaf = type(X).operations.to_leaf
    # Weak: the hook belongs to X, and a cycle would keep X alive until the garbage collector runs. Whoever calls the
    # hook holds X.
    reference: Callable[[], Any] = weakref.ref(X)

    def project(gradient: Tensor) -> Tensor:
        return to_leaf(reference(), gradient)

    call_plain(_register_hook, (), (X, project))
    X.__dict__[_MARK] = 'python'
