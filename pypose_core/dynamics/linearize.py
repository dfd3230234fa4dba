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
              by_input: bool = True, create_graph: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Value and Jacobians of y = function(x, u, t) with independent rows.

    Args:
        forms: where the form found for a call shape is remembered; the caller keeps it with the function.
        x, u: (..., n), (..., m): one call's arguments. With `stages` (T, ..., n), (T, ..., m): those of T calls.
        t: what the function gets as its time; with `stages` (T,).
        by_input: whether ∂y/∂u is wanted.
        create_graph: keep the Jacobians differentiable.

    Returns:
        y (..., k), ∂y/∂x (..., k, n), ∂y/∂u (..., k, m) or None.
    """
    key = (x.shape, u.shape, x.dtype, x.device, stages, by_input)
    known = forms.get(key)
    if known is None:
        known = forms[key] = _find_form(function, x.detach(), u.detach(), t, stages, by_input)
    form, weights = known
    if create_graph:
        with torch.enable_grad():
            return form(function, x, u, t, weights, stages, by_input, True)
    if torch.is_grad_enabled():
        return form(function, x.detach(), u.detach(), t, weights, stages, by_input, False)
    with torch.enable_grad():
        return form(function, x.detach(), u.detach(), t, weights, stages, by_input, False)


def is_batched(function: Function, forms: dict, x: Tensor, u: Tensor, t: Tensor) -> bool:
    """Whether the function takes all stages (T, ..., n), (T, ..., m) in one call, with times (T, 1, ...)."""
    key = (x.shape, u.shape, x.dtype, x.device, True, True)
    if key not in forms:
        forms[key] = _find_form(function, x.detach(), u.detach(), t, True, True)
    return forms[key][0] is _by_copies


def _leaf(z: Tensor) -> Tensor:
    """z as a tensor to differentiate by, with its own history if it has one."""
    return z.view_as(z) if z.requires_grad else z.detach().requires_grad_()


def _gradients(y: Tensor, inputs: tuple[Tensor, ...], weights: Tensor | None, create_graph: bool,
               retain: bool = False) -> tuple[Tensor, ...]:
    if not y.requires_grad:
        return tuple(torch.zeros_like(z) for z in inputs)
    return torch.autograd.grad(y, inputs, weights, retain_graph=retain or create_graph, create_graph=create_graph,
                               allow_unused=True, materialize_grads=True)


def _by_copies(function: Function, x: Tensor, u: Tensor, t, weights: Tensor, stages: bool, by_input: bool,
               create_graph: bool):
    """All rows of all Jacobians by one call and one backward pass: copy i gives the gradient of y_i."""
    size = len(weights)
    X = _leaf(x.expand(size, *x.shape))
    U = _leaf(u.expand(size, *u.shape)) if by_input else u
    y = function(X, U, t.view(-1, *[1] * (x.dim() - 1)) if stages else t)
    found = _gradients(y, (X, U) if by_input else (X,), weights, create_graph)
    value = y[0] if create_graph else y.detach()[0]
    return value, found[0].movedim(0, -2), found[1].movedim(0, -2) if by_input else None


def _by_vmap(function: Function, x: Tensor, u: Tensor, t: Tensor, weights: Tensor, stages: bool, by_input: bool,
             create_graph: bool):
    """One call, mapped over the stages: for functions that insist on their own number of dimensions."""
    def summed(x, u, t):
        y = function(x, u, t)
        return y.reshape(-1, y.shape[-1]).sum(0), y

    with torch.set_grad_enabled(create_graph):
        (A, B), y = torch.func.vmap(torch.func.jacrev(summed, argnums=(0, 1), has_aux=True))(x, u, t)
    return y, A.movedim(1, -2), B.movedim(1, -2)


def _one_call(function: Function, x: Tensor, u: Tensor, t, by_input: bool, create_graph: bool):
    X, U = _leaf(x), _leaf(u) if by_input else u
    y = function(X, U, t)
    wanted = (X, U) if by_input else (X,)
    rows = [_gradients(y[..., i].sum(), wanted, None, create_graph, retain=True) for i in range(y.shape[-1])]
    jacobian = [torch.stack(z, -2) for z in zip(*rows)]
    return y if create_graph else y.detach(), jacobian[0], jacobian[1] if by_input else None


def _by_rows(function: Function, x: Tensor, u: Tensor, t, weights: Tensor | None, stages: bool, by_input: bool,
             create_graph: bool):
    """A backward pass for each component of each call: asks nothing of the function."""
    if not stages:
        return _one_call(function, x, u, t, by_input, create_graph)
    parts = [_one_call(function, x[k], u[k], t[k], True, create_graph) for k in range(len(x))]
    return tuple(torch.stack(z) for z in zip(*parts))


def _find_form(function: Function, x: Tensor, u: Tensor, t, stages: bool, by_input: bool) -> tuple[Callable, Tensor]:
    """The fastest form whose results at points about (x, u) are those of _by_rows, and its weights."""
    generator = torch.Generator(x.device).manual_seed(0)
    x, u = (z + 0.1 * (1 + z.abs()) * torch.randn(z.shape, dtype=z.dtype, device=z.device, generator=generator)
            for z in (x, u))
    with torch.enable_grad():
        expected = _by_rows(function, x, u, t, None, stages, by_input, False)
        y = expected[0]
        size = y.shape[-1]
        weights = torch.eye(size, dtype=y.dtype, device=y.device).view(size, *[1] * (y.dim() - 1), size)
        weights = weights.expand(size, *y.shape)
        tolerance = torch.finfo(x.dtype).eps ** 0.6
        for form in (_by_copies, _by_vmap) if stages else (_by_copies,):
            try:
                found = form(function, x, u, t, weights, stages, by_input, False)
            except Exception:   # whatever the user's function raises for a shape it was not written for
                continue
            pairs = [(a, b) for a, b in zip(found, expected) if b is not None]
            if all(a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs):
                return form, weights
    return _by_rows, weights


def chained_jacobians(f: Function, forms_f: dict, g: Function, forms_g: dict, x: Tensor, u: Tensor,
                      t) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z = f(x, u, t), ∂f/∂x at x, g(z, u, t), ∂g/∂x at z: a filter's step, by one backward pass where that works."""
    key = (x.shape, u.shape, x.dtype, x.device, False, False)
    if key in forms_f and key in forms_g:
        (form_f, weights_f), (form_g, weights_g) = forms_f[key], forms_g[key]
        if form_f is form_g is _by_copies:
            with torch.enable_grad():
                x, u = x.detach(), u.detach()
                X = x.expand(len(weights_f), *x.shape).requires_grad_()
                moved = f(X, u, t)
                z = moved.detach()[0]
                Z = z.expand(len(weights_g), *z.shape).requires_grad_()
                seen = g(Z, u, t)
            if moved.requires_grad and seen.requires_grad:
                A, C = torch.autograd.grad((moved, seen), (X, Z), (weights_f, weights_g))
                return z, A.movedim(0, -2), seen.detach()[0], C.movedim(0, -2)
    z, A, _ = jacobians(f, forms_f, x, u, t, by_input=False)
    seen, C, _ = jacobians(g, forms_g, z, u, t, by_input=False)
    return z, A, seen, C
