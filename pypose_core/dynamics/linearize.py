"""Jacobians of a user's function of rows (state, input), one for each row, in as few calls as it allows.

Users write functions for one call shape; many of them take any leading dimensions, some do not.  The form that
works is found once by comparing with plain backward passes at points around the given ones, and remembered.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor, Tensor], Tensor]


def jacobians(function: Function, forms: dict, x: Tensor, u: Tensor, t, *, stages: bool = False,
              create_graph: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Value and Jacobians of y = function(x, u, t) with independent rows.

    Args:
        forms: where the form found for a call shape is remembered; the caller keeps it with the function.
        x, u: (..., n), (..., m): one call's arguments. With `stages` (T, ..., n), (T, ..., m): those of T calls.
        t: what the function gets as its time; with `stages` (T,).
        create_graph: keep the Jacobians differentiable.

    Returns:
        y (..., k), ∂y/∂x (..., k, n), ∂y/∂u (..., k, m).
    """
    key = (x.shape, u.shape, x.dtype, x.device, stages)
    known = forms.get(key)
    if known is None:
        known = forms[key] = _find_form(function, x.detach(), u.detach(), t, stages)
    form, size = known
    return form(function, x, u, t, size, stages, create_graph)


def _leaves(x: Tensor, u: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
    """x and u as tensors to differentiate by, with their own history where the Jacobians keep it."""
    return tuple(z.view_as(z) if create_graph and z.requires_grad else z.detach().requires_grad_() for z in (x, u))


def _gradients(y: Tensor, inputs: tuple[Tensor, Tensor], weights: Tensor, create_graph: bool, retain: bool = False):
    if not y.requires_grad:
        return tuple(torch.zeros_like(z) for z in inputs)
    return torch.autograd.grad(y, inputs, weights, create_graph=create_graph, retain_graph=retain or create_graph,
                               allow_unused=True, materialize_grads=True)


def _by_copies(function: Function, x: Tensor, u: Tensor, t, size: int, stages: bool, create_graph: bool):
    """All rows of all Jacobians by one call and one backward pass: copy i gives the gradient of y_i."""
    with torch.enable_grad():
        X, U = _leaves(x.expand(size, *x.shape), u.expand(size, *u.shape), create_graph)
        y = function(X, U, t.view(-1, *[1] * (x.dim() - 1)) if stages else t)
        weights = torch.eye(size, dtype=y.dtype, device=y.device)
        weights = weights.view(size, *[1] * (y.dim() - 2), size).expand(y.shape)
        A, B = _gradients(y, (X, U), weights, create_graph)
    value = y[0] if create_graph else y[0].detach()
    return value, A.movedim(0, -2), B.movedim(0, -2)


def _by_vmap(function: Function, x: Tensor, u: Tensor, t: Tensor, size: int, stages: bool, create_graph: bool):
    """One call, mapped over the stages: for functions that insist on their own number of dimensions."""
    def summed(x, u, t):
        y = function(x, u, t)
        return y.reshape(-1, y.shape[-1]).sum(0), y

    with torch.set_grad_enabled(create_graph):
        (A, B), y = torch.func.vmap(torch.func.jacrev(summed, argnums=(0, 1), has_aux=True))(x, u, t)
    return y, A.movedim(1, -2), B.movedim(1, -2)


def _one_call(function: Function, x: Tensor, u: Tensor, t, create_graph: bool):
    with torch.enable_grad():
        X, U = _leaves(x, u, create_graph)
        y = function(X, U, t)
        rows = [_gradients(y[..., i].sum(), (X, U), None, create_graph, retain=True) for i in range(y.shape[-1])]
    value = y if create_graph else y.detach()
    return value, torch.stack([a for a, _ in rows], -2), torch.stack([b for _, b in rows], -2)


def _by_rows(function: Function, x: Tensor, u: Tensor, t, size: int, stages: bool, create_graph: bool):
    """A backward pass for each component of each call: asks nothing of the function."""
    if not stages:
        return _one_call(function, x, u, t, create_graph)
    parts = [_one_call(function, x[k], u[k], t[k], create_graph) for k in range(len(x))]
    return tuple(torch.stack(z) for z in zip(*parts))


def _find_form(function: Function, x: Tensor, u: Tensor, t, stages: bool) -> tuple[Callable, int]:
    """The fastest form whose results at points about (x, u) are those of _by_rows."""
    generator = torch.Generator(x.device).manual_seed(0)
    x, u = (z + 0.1 * (1 + z.abs()) * torch.randn(z.shape, dtype=z.dtype, device=z.device, generator=generator)
            for z in (x, u))
    expected = _by_rows(function, x, u, t, 0, stages, False)
    size = expected[0].shape[-1]
    tolerance = torch.finfo(x.dtype).eps ** 0.6
    for form in (_by_copies, _by_vmap) if stages else (_by_copies,):
        try:
            found = form(function, x, u, t, size, stages, False)
        except Exception:   # whatever the user's function raises for a shape it was not written for
            continue
        if all(a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
               for a, b in zip(found, expected)):
            return form, size
    return _by_rows, size
