"""Parameters as points of a manifold: the steps that optimizers take have the width of the tangent space.

A plain tensor or an element of an algebra is a vector: p + δ.  An element of a group is moved from the left:
Exp(δ) X, with dof numbers for δ, though X is stored in more.
"""
from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from pypose_core.lie.dispatch import plain
from pypose_core.lie.lietensor import LieTensor, as_type


def is_group(p: Tensor) -> TypeGuard[LieTensor]:
    """Whether p holds elements of a group."""
    return isinstance(p, LieTensor) and not p.ltype.on_manifold


def tangent_shape(p: Tensor) -> torch.Size:
    """Shape of a step of parameter p."""
    return torch.Size((*p.shape[:-1], p.ltype.group.dof)) if is_group(p) else p.shape


def batch_shape(p: Tensor) -> torch.Size:
    """The dimensions that count elements: all but the last."""
    return p.shape[:-1]


def typed(value: Tensor, p: Tensor) -> Tensor:
    """Coordinates as a LieTensor of p's kind, where p is one."""
    return as_type(value, type(p).kind) if isinstance(p, LieTensor) else value


def retract(p: Tensor, value: Tensor, step: Tensor) -> Tensor:
    """The coordinates `value` of a parameter such as p, moved by a step of shape tangent_shape(p)."""
    if is_group(p):
        return plain(as_type(value, type(p).kind).Retr(step))
    return value + step


def velocity(p: Tensor, value: Tensor, step: Tensor) -> Tensor:
    """The derivative of retract(p, value, ε step) by ε at 0, in coordinates."""
    if is_group(p):
        width = value.shape[-1]
        eye = torch.eye(width, dtype=value.dtype, device=value.device).expand(*value.shape[:-1], width, width)
        # A gradient by coordinates becomes one by the tangent with the transposed of what moves coordinates.
        basis = p.ltype.group.module.left_tangent(value.unsqueeze(-2), eye)
        return (basis @ step.unsqueeze(-1)).squeeze(-1)
    return step


def tangent_gradient(p: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by the step at zero, from the gradient by the coordinates of p."""
    if is_group(p):
        return p.ltype.group.functions['to_leaf'](plain(p.detach()), gradient)[..., :p.ltype.group.dof]
    return gradient


def leaf_gradient_columns(p: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by the step at zero, from what torch.autograd.grad() returns for leaf p."""
    return plain(gradient)[..., :p.ltype.group.dof] if is_group(p) else plain(gradient)
