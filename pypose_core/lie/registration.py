"""What the native operators have in Python: the reference, for all that their kernels don't do.

The C++ side registers forward, backward and double backward for the CPU, their shapes (Meta) and the graph
(Autograd) of the first two.  The rest it hands over to two operators that are told the name of the one called, so that
importing registers two and not hundreds.  They are implemented here:
  * by_reference: other devices, by the reference itself; and Autograd of the double backward operators, which is what
    a third derivative asks for: the reference, in the graph;
  * batched: rules for torch.func.vmap. The operators broadcast, so a batch dimension is moved to the front.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.lie.dispatch import BINARY
from pypose_core.lie.reference import GROUPS

#: Keeps the registrations alive.
_library = torch.library.Library('pypose', 'IMPL') if native.available else None


def _graph(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The tensors as separate points of the graph, though one may depend on another."""
    return [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors]


def _backward(reference: Callable, g: Tensor, *operands: Tensor) -> list[Tensor]:
    """The gradients to the operands."""
    with torch.enable_grad():
        inputs = _graph(operands)
        return list(torch.autograd.grad(reference(*inputs), inputs, g.detach()))


def _double_backward(reference: Callable, count: int, *tensors: Tensor) -> list[Tensor]:
    """Of (*h, g, *operands) the gradients of Σ h · backward(g, *operands) to g and to the operands."""
    h = tensors[:count]
    create_graph = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    with torch.enable_grad():
        inputs = _graph(tensors[count:])
        first = torch.autograd.grad(reference(*inputs[1:]), inputs[1:], inputs[0], create_graph=True)
        # An operand without influence on its own derivative has a first derivative without a graph.
        pairs = [(f, t) for f, t in zip(first, h) if f.requires_grad]
        return list(torch.autograd.grad([f for f, _ in pairs], inputs, [t for _, t in pairs],
                                        create_graph=create_graph, materialize_grads=True))


def _align(x: Tensor, dim: int | None, rank: int) -> Tensor:
    """x with its batch dimension, if any, in front of `rank` others."""
    if dim is None:
        return x
    x = x.movedim(dim, 0)
    return x.reshape(x.shape[:1] + (1,) * (rank + 1 - x.dim()) + x.shape[1:])


def _call(name: str, operands: list[Tensor]) -> list[Tensor]:
    """The operator of that name."""
    results = getattr(torch.ops.pypose, name)(*operands)
    return [results] if isinstance(results, Tensor) else list(results)


def _split(name: str) -> tuple[Callable, int, str]:
    """'SE3_mul_backward' -> the reference of SE3's mul, its number of operands and 'backward'."""
    group, _, rest = name.partition('_')
    order = next((o for o in ('double_backward', 'backward') if rest.endswith('_' + o)), '')
    operation = rest.removesuffix('_' + order) if order else rest
    return GROUPS[group].functions[operation], 1 + (operation in BINARY), order


def _by_reference(name: str, operands: list[Tensor]) -> list[Tensor]:
    reference, count, order = _split(name)
    if order == 'backward':
        return _backward(reference, *operands)
    if order == 'double_backward':
        return _double_backward(reference, count, *operands)
    return [reference(*operands)]


def _by_reference_below_autograd(name: str, operands: list[Tensor]) -> list[Tensor]:
    """The same where nothing is to be differentiated further, as a kernel without autograd."""
    return [r.detach() for r in _by_reference(name, [t.detach() for t in operands])]


def _batched(info, in_dims, name: str, operands: list[Tensor]) -> tuple[list[Tensor], list[int]]:
    _, count, order = _split(name)
    dims = in_dims[1]
    if order == '':
        rank = max(x.dim() - (d is not None) for x, d in zip(operands, dims))
        return _call(name, [_align(x, d, rank) for x, d in zip(operands, dims)]), [0]
    # Results are gradients to the last operands and have their shapes: these must all have the batch dimension.
    operands = [x.expand((info.batch_size,) + x.shape) if d is None else x.movedim(d, 0)
                for x, d in zip(operands, dims)]
    rank = max(x.dim() - 1 for x in operands)
    found = _call(name, [_align(x, 0, rank) for x in operands])
    return [r.reshape(x.shape) for r, x in zip(found, operands[-len(found):])], [0] * len(found)


def register(library: torch.library.Library) -> None:
    """Register all of it, once, when the native operators are there."""
    library.impl('by_reference', _by_reference, 'Autograd')
    library.impl('by_reference', _by_reference_below_autograd, 'CompositeExplicitAutograd')
    library.impl('batched', _call, 'CompositeImplicitAutograd')
    torch.library.register_vmap('pypose::batched', _batched, lib=library)


if _library is not None:
    register(_library)
