"""What the native operators have in Python: the reference, for all that their kernels don't do.

The C++ side registers forward, backward and double backward for the CPU, their shapes (Meta) and the graph
(Autograd) of the first two.  Here come
  * other devices: the reference itself;
  * Autograd of the double backward operators, which is what a third derivative asks for: the reference, in the
    graph;
  * rules for torch.func.vmap: the operators broadcast, so a batch dimension is moved to the front.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.lie.dispatch import BINARY, UNARY
from pypose_core.lie.reference import GROUPS

#: Keeps the registrations alive.
_library = torch.library.Library('pypose', 'IMPL') if native.available else None


def _one_or_all(tensors: tuple[Tensor, ...]):
    return tensors[0] if len(tensors) == 1 else tensors


def _graph(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The tensors as separate points of the graph, though one may depend on another."""
    return [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors]


def _backward(reference: Callable) -> Callable:
    """(g, *operands) -> the gradients to the operands."""
    def gradients(g: Tensor, *operands: Tensor):
        with torch.enable_grad():
            inputs = _graph(operands)
            return _one_or_all(torch.autograd.grad(reference(*inputs), inputs, g.detach()))
    return gradients


def _double_backward(reference: Callable, count: int) -> Callable:
    """(*h, g, *operands) -> the gradients of Σ h · backward(g, *operands) to g and to the operands."""
    def gradients(*tensors: Tensor):
        h = tensors[:count]
        create_graph = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        with torch.enable_grad():
            inputs = _graph(tensors[count:])
            first = torch.autograd.grad(reference(*inputs[1:]), inputs[1:], inputs[0], create_graph=True)
            # An operand without influence on its own derivative has a first derivative without a graph.
            pairs = [(f, t) for f, t in zip(first, h) if f.requires_grad]
            return torch.autograd.grad([f for f, _ in pairs], inputs, [t for _, t in pairs],
                                       create_graph=create_graph, materialize_grads=True)
    return gradients


def _below_autograd(gradients: Callable) -> Callable:
    """The same where nothing is to be differentiated further, as a kernel without autograd."""
    def kernel(*tensors: Tensor):
        result = gradients(*(t.detach() for t in tensors))
        return result.detach() if isinstance(result, Tensor) else tuple(r.detach() for r in result)
    return kernel


def _align(x: Tensor, dim: int | None, rank: int) -> Tensor:
    """x with its batch dimension, if any, in front of `rank` others."""
    if dim is None:
        return x
    x = x.movedim(dim, 0)
    return x.reshape(x.shape[:1] + (1,) * (rank + 1 - x.dim()) + x.shape[1:])


def _vmap_rule(operator: Callable) -> Callable:
    def rule(info, in_dims, *operands: Tensor):
        rank = max(x.dim() - (d is not None) for x, d in zip(operands, in_dims))
        return operator(*(_align(x, d, rank) for x, d in zip(operands, in_dims))), 0
    return rule


def _vmap_rule_backward(operator: Callable, results: int) -> Callable:
    # Results are gradients to the last operands and have their shapes: these must all have the batch dimension.
    def rule(info, in_dims, *operands: Tensor):
        batched = [x.expand((info.batch_size,) + x.shape) if d is None else x.movedim(d, 0)
                   for x, d in zip(operands, in_dims)]
        rank = max(x.dim() - 1 for x in batched)
        found = operator(*(_align(x, 0, rank) for x in batched))
        found = (found,) if isinstance(found, Tensor) else found
        shaped = tuple(r.reshape(x.shape) for r, x in zip(found, batched[-results:]))
        return (shaped[0], 0) if results == 1 else (shaped, (0,) * results)
    return rule


def register(library: torch.library.Library) -> None:
    """Register all of it, once, when the native operators are there."""
    for group in GROUPS.values():
        for name in UNARY + BINARY:
            reference, full, count = group.functions[name], f'{group.name}_{name}', 1 + (name in BINARY)
            second = _double_backward(reference, count)
            library.impl(full, reference, 'CompositeExplicitAutograd')
            library.impl(f'{full}_backward', _below_autograd(_backward(reference)), 'CompositeExplicitAutograd')
            library.impl(f'{full}_double_backward', _below_autograd(second), 'CompositeExplicitAutograd')
            library.impl(f'{full}_double_backward', second, 'Autograd')
            for suffix, rule in (('', _vmap_rule), ('_backward', lambda op, n=count: _vmap_rule_backward(op, n)),
                                 ('_double_backward', lambda op, n=count + 1: _vmap_rule_backward(op, n))):
                operator = getattr(torch.ops.pypose, full + suffix).default
                torch.library.register_vmap(operator, rule(operator), lib=library)


if _library is not None:
    register(_library)
