"""What the native operators have in Python: the reference, for all that their kernels don't do.

The C++ side registers forward and backward for the CPU, their shapes (Meta) and the first derivative
(Autograd).  Here come
  * other devices: the reference itself;
  * Autograd of the backward operators, which is what a second derivative asks for: the transposed
    derivative of the reference, in the graph;
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


def _in_transform(reference: Callable, g: Tensor, operands: tuple[Tensor, ...]):
    """The same within a function transform, where only what is being differentiated can require gradients."""
    inputs = [x for x in operands if x.requires_grad]
    if not inputs:
        raise NotImplementedError('within a function transform, differentiate the LieTensor methods, not torch.ops')
    found = iter(torch.autograd.grad(reference(*operands), inputs, g, create_graph=True))
    result = tuple(next(found) if x.requires_grad else torch.zeros_like(x) for x in operands)
    return result[0] if len(operands) == 1 else result


def _transposed(reference: Callable) -> Callable:
    """(g, *operands) -> the gradients to the operands, differentiable again in all of them."""
    def gradients(g: Tensor, *operands: Tensor):
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return _in_transform(reference, g, operands)
        create_graph = torch.is_grad_enabled() and (g.requires_grad or any(x.requires_grad for x in operands))
        with torch.enable_grad():
            inputs = [x if x.requires_grad else x.detach().requires_grad_() for x in operands]
            result = torch.autograd.grad(reference(*inputs), inputs, g, create_graph=create_graph)
        return result[0] if len(operands) == 1 else result
    return gradients


def _below_autograd(gradients: Callable) -> Callable:
    """The same where nothing is to be differentiated further, as a kernel without autograd."""
    def kernel(g: Tensor, *operands: Tensor):
        result = gradients(g.detach(), *(x.detach() for x in operands))
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


def _vmap_rule_backward(operator: Callable) -> Callable:
    # Gradients have the shapes of the operands: these must all have the batch dimension.
    def rule(info, in_dims, *operands: Tensor):
        batched = [x.expand((info.batch_size,) + x.shape) if d is None else x.movedim(d, 0)
                   for x, d in zip(operands, in_dims)]
        rank = max(x.dim() - 1 for x in batched)
        result = operator(*(_align(x, 0, rank) for x in batched))
        single = isinstance(result, Tensor)
        shaped = tuple(r.reshape(x.shape) for r, x in zip([result] if single else result, batched[1:]))
        return (shaped[0], 0) if single else (shaped, (0,) * len(shaped))
    return rule


def register() -> None:
    """Register all of it, once, when the native operators are there."""
    for group in GROUPS.values():
        for name in UNARY + BINARY:
            reference, full = group.functions[name], f'{group.name}_{name}'
            gradients = _transposed(reference)
            _library.impl(full, reference, 'CompositeExplicitAutograd')
            _library.impl(f'{full}_backward', _below_autograd(gradients), 'CompositeExplicitAutograd')
            _library.impl(f'{full}_backward', gradients, 'Autograd')
            for suffix, rule in (('', _vmap_rule), ('_backward', _vmap_rule_backward)):
                operator = getattr(torch.ops.pypose, full + suffix).default
                torch.library.register_vmap(operator, rule(operator), lib=_library)


if native.available:
    register()
