"""Jacobians of a model by its parameters.

Parameters that are elements of a group have their Jacobian in the form of a leaf's gradient, as in PyPose: by
the left tangent first, zeros up to the storage width.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pypose_core.lie.dispatch import plain
from pypose_core.lie.lietensor import LieTensor
from pypose_core.optim.tangent import is_group, typed


def _to_leaf(J: Tensor, p: Tensor) -> Tensor:
    return p.ltype.group.functions['to_leaf'](plain(p.detach()), J) if is_group(p) else J


def _plain_outputs(outputs):
    if isinstance(outputs, Tensor):
        return plain(outputs)
    return tuple(plain(o) for o in outputs)


def _check(J: Tensor) -> Tensor:
    if bool(J.isnan().any()):
        raise ValueError('the Jacobian contains NaN; check the model and its input')
    return J


@torch.enable_grad()
def modjac(model: nn.Module, input=None, create_graph: bool = False, strict: bool = False,
           vectorize: bool = False, strategy: str = 'reverse-mode', flatten: bool = False):
    """Jacobian of a model's outputs by all its parameters, frozen ones included.

    Args:
        model: returns a tensor or a tuple of them (LieTensors too).
        input: what the model is called with: a tensor or a tuple of arguments; None for no arguments.
        create_graph: make the Jacobian differentiable.
        strict: raise where an output does not depend on a parameter (only with vectorize=False).
        vectorize: all rows at once by vmap; else one backward pass for each.
        strategy: 'reverse-mode', or 'forward-mode' (only with vectorize=True).
        flatten: one matrix (numbers of all outputs, numbers of all parameters).

    Returns:
        J[i][j] of output i and parameter j, of shape (*output.shape, *parameter.shape); without the first
        index where the model returns one tensor.

    Raises:
        ValueError: the Jacobian contains NaN.
    """
    if strategy not in ('reverse-mode', 'forward-mode'):
        raise ValueError(f"strategy must be 'reverse-mode' or 'forward-mode', not {strategy!r}")
    if strategy == 'forward-mode' and not vectorize:
        raise ValueError("strategy='forward-mode' requires vectorize=True")
    params, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    values = tuple(plain(p.detach()) if not create_graph else plain(p) for p in params.values())
    several = [False]

    def func(*values):
        named = {name: typed(v, p) for (name, p), v in zip(params.items(), values)}
        outputs = functional_call(model, (named, buffers), () if input is None else input)
        several[0] = not isinstance(outputs, Tensor)
        return _plain_outputs(outputs)

    if vectorize and not strict:
        transform = torch.func.jacrev if strategy == 'reverse-mode' else torch.func.jacfwd
        J = transform(func, tuple(range(len(values))))(*values)
        if not create_graph:
            J = tuple(tuple(j.detach() for j in row) if several[0] else row.detach() for row in J)
    else:
        J = torch.autograd.functional.jacobian(func, values, create_graph=create_graph, strict=strict,
                                               vectorize=vectorize, strategy=strategy)
    rows = J if several[0] else (J,)
    rows = tuple(tuple(_check(_to_leaf(j, p)) for j, p in zip(row, params.values())) for row in rows)
    if flatten:
        return torch.cat([torch.cat([j.reshape(-1, v.numel()) for j, v in zip(row, values)], 1) for row in rows])
    return rows if several[0] else rows[0]


def _modjac(transform: Callable, model: nn.Module, input, argnums, has_aux: bool):
    params = dict(model.named_parameters())
    stripped = {name: plain(p.detach()) for name, p in params.items()}
    arguments = input if isinstance(input, tuple) else (input,)
    inputs = tuple(plain(x) if isinstance(x, LieTensor) else x for x in arguments)

    def func(values, inputs):
        named = {name: typed(v, params[name]) for name, v in values.items()}
        outputs = functional_call(model, named, tuple(
            typed(x, a) if isinstance(x, Tensor) else x for x, a in zip(inputs, arguments)))
        if has_aux:
            return _plain_outputs(outputs[0]), outputs[1]
        return _plain_outputs(outputs)

    def restore(J, argnum: int):
        if isinstance(J, tuple) and J and isinstance(J[0], (dict, tuple)):
            return tuple(restore(j, argnum) for j in J)
        if argnum == 0:
            return {name: _to_leaf(j, params[name]) for name, j in J.items()}
        J = tuple(_to_leaf(j, a) if isinstance(a, Tensor) else j for j, a in zip(J, arguments))
        return J if isinstance(input, tuple) else J[0]

    result = transform(func, argnums, has_aux=has_aux)(stripped, inputs)
    J, aux = result if has_aux else (result, None)
    if isinstance(argnums, int):
        J = restore(J, argnums)
    else:
        J = tuple(restore(j, n) for j, n in zip(J, argnums))
    return (J, aux) if has_aux else J


@torch.enable_grad()
def modjacrev(model: nn.Module, input, argnums=0, *, has_aux: bool = False):
    """Jacobian by torch.func.jacrev; of a model that returns one tensor.

    Args:
        model: the model; with has_aux it returns (output, other tensors).
        input: what the model is called with.
        argnums: 0, by the parameters: a dict from names to Jacobians; 1, by the input; or a tuple of these.
        has_aux: return (Jacobian, the other tensors).
    """
    return _modjac(torch.func.jacrev, model, input, argnums, has_aux)


@torch.enable_grad()
def modjacfwd(model: nn.Module, input, argnums=0, *, has_aux: bool = False):
    """Jacobian by torch.func.jacfwd; see modjacrev()."""
    return _modjac(torch.func.jacfwd, model, input, argnums, has_aux)
