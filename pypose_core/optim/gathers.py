"""Sparse Jacobians of models that gather: each residual is made of a few elements of the parameters.

    cameras, points = self.cameras[camera_of], self.points[point_of]      # rows of parameters, by an index
    return project(cameras, points) - pixels                              # row by row

The model runs once with a leaf in place of each gather. As many backward passes as one residual has numbers then give
its derivatives by the rows gathered, and the indices say which elements of the parameters these are. One pass more
with random numbers checks that no residual depended on another's rows.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pypose_core.lie.dispatch import plain
from pypose_core.lie.lietensor import LieTensor, as_type
from pypose_core.optim.block_jacobian import BlockJacobian, Blocks
from pypose_core.optim.linearize import Linearization
from pypose_core.optim.problem import Problem
from pypose_core.optim.structure import Columns, differ, in_order, pushforward, random_like
from pypose_core.optim.tangent import is_group, leaf_gradient_columns, tangent_gradient, tangent_shape

MOST_SHARED = 64        # columns of a parameter that all residuals share: each costs a pass in forward mode
_get_item = Tensor.__getitem__
_SELECT = (torch.index_select, Tensor.index_select)


class NotSparse(Exception):
    """The model is not made of gathers and rows; says why."""


@dataclass(frozen=True)
class Gather:
    """Rows of a tensor that the model took by an index."""

    source: Tensor
    """(n, ...) a parameter, or what was made of some."""
    rows: Tensor
    """(...) the row of `source` that each element is."""
    leaf: Tensor
    """(*rows.shape, ...) the values, plain, with which the model went on."""


class Gathers(TorchFunctionMode):
    """While inside, rows that are gathered of tensors in the graph are leaves of a graph of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Gather] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _get_item:
            index, rest = _leading(args[1])
            if index is not None and _is_source(args[0]):
                gathered = self._gather(args[0], index)
                return gathered if not rest else gathered[rest]
        elif func in _SELECT and not kwargs and args[1] in (0, -args[0].dim()) and _is_source(args[0]):
            return self._gather(args[0], args[2])
        return func(*args, **kwargs)

    def _gather(self, source: Tensor, index: Any) -> Tensor:
        rows = torch.arange(source.shape[0], device=source.device)[index]
        leaf = plain(source.detach())[rows].requires_grad_()
        self.found.append(Gather(source, rows, leaf))
        return as_type(leaf, type(source).kind) if isinstance(source, LieTensor) else leaf.view_as(leaf)


def _is_source(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad and x.dim() > (1 if isinstance(x, LieTensor) else 0)


def _leading(index: Any) -> tuple[Any, tuple]:
    """What an index takes of the first dimension, and the rest of it; None where it does something else there."""
    first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
    if not all(isinstance(i, (int, slice)) or i is Ellipsis for i in rest):
        return None, ()
    if isinstance(first, Tensor):
        if first.dtype == torch.bool and first.dim() != 1 or first.is_floating_point() or first.dim() == 0:
            return None, ()
        ndim = first.dim()
    elif isinstance(first, slice):
        ndim = 1
    elif isinstance(first, list) and first and all(isinstance(i, int) for i in first):
        ndim = 1
    else:
        return None, ()
    return first, (slice(None),) * ndim + tuple(rest) if rest else ()


def elements(p: Tensor) -> int:
    """The elements of a parameter: its first dimension counts them, unless all of it is one element of a group."""
    return p.shape[0] if p.dim() > (1 if is_group(p) else 0) else 1


@dataclass(frozen=True)
class _Rows:
    """How the rows of a tensor are made of the elements of one parameter: each of at most one, and that of no other."""

    element: Tensor
    """(n,) of each row; -1: of none."""
    derivative: Tensor | None
    """(n, width, dof) by the element; None: the row is the element."""


@torch.enable_grad()
def linearize_gathers(problem: Problem) -> Linearization:
    """The residuals and a BlockJacobian.

    Raises:
        NotSparse: a residual depends on other rows than its own.
    """
    with Gathers() as seen:
        residuals = problem.residuals()
    params = problem.params
    leaves: list[Tensor] = [g.leaf for g in seen.found] + list(params)
    columns = Columns(params, torch.Size())
    offsets = torch.tensor([0, *columns.sizes]).cumsum(0).tolist()
    sources = [_rows_of_source(g, params, leaves[:len(seen.found)]) for g in seen.found]
    shared = _Shared(problem, columns)
    broken = torch.zeros((), dtype=torch.bool, device=residuals[0].device)
    whole: set[int] = set()
    parts: list[list[Blocks]] = []
    for number, r in enumerate(residuals):
        shape = _common_rows(r, [g for g in seen.found if _depends(r, g.leaf)])
        m, width = math.prod(shape), r.numel() // max(math.prod(shape), 1)
        flat = r.reshape(m, width)
        grads = [_pull(flat, leaves, row.expand(m, width))
                 for row in torch.eye(width, dtype=r.dtype, device=r.device)]
        u = random_like((m, width), flat)
        check = _pull(flat, leaves, u)
        blocks: list[Blocks] = []
        for k, (g, made) in enumerate(zip(seen.found, sources)):
            if check[k] is None:
                continue
            J = torch.stack([_of_rows(grad[k], g, m) for grad in grads], 1)         # (m, width, slots, ...)
            broken = broken | _differs(u, J, _of_rows(check[k], g, m))
            slots = g.rows.reshape(m, -1)
            J = J.flatten(3)
            for i, rows in made.items():
                blocks += [_chain(params[i], offsets[i], rows, slots[:, s], J[:, :, s], g, s)
                           for s in range(slots.shape[1])]
        for i, p in enumerate(params):
            direct = check[len(seen.found) + i]
            if direct is None or not bool(direct.any()):
                continue
            rows = _injective(flat, p)
            if rows is not None:
                assert rows.derivative is not None
                blocks.append(Blocks(offsets[i], rows.element, rows.derivative))
            else:
                blocks.append(Blocks(offsets[i], torch.zeros(m, dtype=torch.long, device=r.device),
                                     shared.columns_of(i, number).reshape(m, width, -1)))
                whole.add(i)
        if not blocks:
            raise NotSparse('a residual depends on no parameter')
        parts.append(blocks)
    detached = [r.detach() for r in residuals]
    sizes = [(1 if i in whole else elements(p), size) for i, (p, size) in enumerate(zip(params, columns.sizes))]
    partition = [(n, size // max(n, 1)) for n, size in sizes]
    dof_of = {offset: dof for offset, (_, dof) in zip(offsets, partition)}
    if any(b.dof != dof_of[b.offset] for blocks in parts for b in blocks):
        raise NotSparse('elements of a parameter are gathered, and all residuals share it')
    J = BlockJacobian([r.reshape(-1) for r in detached], parts, partition)
    structure = in_order(torch.Size(), detached, f'sparse: {sum(len(r.reshape(-1)) for r in detached)} numbers of '
                         f'residuals, each made of {", ".join(str(len(b)) for b in parts)} elements of the parameters')
    return Linearization(structure, columns, detached, J, broken)


def _depends(r: Tensor, leaf: Tensor) -> bool:
    return torch.autograd.grad(r.sum(), leaf, retain_graph=True, allow_unused=True)[0] is not None


def _common_rows(r: Tensor, gathers: Sequence[Gather]) -> torch.Size:
    """The dimensions of a residual that count rows: those that all gathers it is made of begin with."""
    shape = r.shape[:-1]
    for g in gathers:
        shared = 0
        while shared < min(len(shape), g.rows.dim()) and shape[shared] == g.rows.shape[shared]:
            shared += 1
        shape = shape[:shared]
    if gathers and not shape and max(g.rows.numel() for g in gathers) > 1:
        raise NotSparse('rows are gathered that are not those of the residual')
    return shape


def _pull(flat: Tensor, leaves: Sequence[Tensor], u: Tensor) -> list[Tensor | None]:
    return list(torch.autograd.grad(flat, leaves, u, retain_graph=True, allow_unused=True))


def _of_rows(gradient: Tensor | None, g: Gather, m: int) -> Tensor:
    """The gradient by a gather as (m, slots, ...)."""
    gradient = torch.zeros_like(g.leaf) if gradient is None else gradient
    return gradient.reshape(m, -1, *g.leaf.shape[g.rows.dim():])


def _differs(u: Tensor, J: Tensor, pulled: Tensor) -> Tensor:
    """Whether a gradient is another than rows of their own make it."""
    J, pulled = J.flatten(2), pulled.flatten(1)
    expected, scale = torch.einsum('mk,mkn->mn', u, J), torch.einsum('mk,mkn->mn', u.abs(), J.abs())
    return differ(pulled, expected, scale.amax(1, keepdim=True))


def _rows_of_source(g: Gather, params: Sequence[Tensor], leaves: Sequence[Tensor]) -> dict[int, _Rows]:
    """How the rows of a gather's source are made of each parameter."""
    for i, p in enumerate(params):
        if g.source is p:
            return {i: _Rows(torch.arange(len(p), device=p.device), None)}
    flat = plain(g.source).reshape(g.source.shape[0], -1)
    if any(x is not None for x in _pull(flat, leaves, torch.ones_like(flat))):
        raise NotSparse('what is gathered is made of what was gathered before')
    made = {}
    for i, p in enumerate(params):
        if torch.autograd.grad(flat.sum(), p, retain_graph=True, allow_unused=True)[0] is None:
            continue
        rows = _injective(flat, p)
        if rows is None:
            raise NotSparse('what is gathered mixes elements of a parameter')
        made[i] = rows
    return made


def _injective(flat: Tensor, p: Tensor) -> _Rows | None:
    """How rows (n, width) are made of the elements of p; None where an element goes into several of them.

    Each bit of the row that an element goes into is told by the rows which have it: they alone pull at the element.
    """
    n, count = len(flat), elements(p)

    def pull(u: Tensor) -> Tensor:
        gradient = torch.autograd.grad(flat, p, u, retain_graph=True)[0]
        return leaf_gradient_columns(p, gradient).reshape(count, -1)

    number, u = torch.arange(n, device=flat.device), random_like(flat.shape, flat)
    row = torch.zeros(count, dtype=torch.long, device=flat.device)
    used = pull(u).abs().amax(1) > 0
    for k in range((n - 1).bit_length()):
        bit = ((number >> k) & 1).bool()[:, None]
        with_bit, without = (pull(torch.where(on, u, 0)).abs().amax(1) > 0 for on in (bit, ~bit))
        if bool((with_bit & without).any()):
            return None
        row += with_bit.long() << k
    taken = row[used]
    if len(taken.unique()) < len(taken):
        return None
    element = torch.full((n,), -1, device=flat.device)
    element[taken] = used.nonzero().squeeze(1)
    J = torch.stack([pull(e.expand_as(flat)) for e in torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)], 1)
    return _Rows(element, torch.where((element >= 0)[:, None, None], J[element.clamp(min=0)], 0))


def _chain(p: Tensor, offset: int, rows: _Rows, at: Tensor, J: Tensor, g: Gather, slot: int) -> Blocks:
    """Derivatives (m, width, dof) by elements of p, from those (m, width, ...) by the rows `at` of a gather's source."""
    element = rows.element[at]
    if rows.derivative is not None:
        return Blocks(offset, element, J @ rows.derivative[at])
    if is_group(p):
        value = g.leaf.detach().reshape(len(at), -1, g.leaf.shape[-1])[:, slot]
        J = as_tangent(p, value, J)
    return Blocks(offset, element, J)


def as_tangent(p: Tensor, value: Tensor, J: Tensor) -> Tensor:
    """Derivatives (m, width, stored) by the coordinates `value` (m, stored) of elements of p, by their steps."""
    like = as_type(value.unsqueeze(1).expand_as(J), type(p).kind)      # type: ignore[attr-defined]
    return tangent_gradient(like, J)


class _Shared:
    """Derivatives by a parameter that goes into all residuals."""

    def __init__(self, problem: Problem, columns: Columns):
        self._problem, self._columns = problem, columns
        self._known: dict[int, list[Tensor]] = {}

    def columns_of(self, i: int, output: int) -> Tensor:
        """(..., columns) of an output by parameter i."""
        if i not in self._known:
            self._known[i] = self._differentiate(i)
        return self._known[i][output]

    def _differentiate(self, i: int) -> list[Tensor]:
        sizes = self._columns.sizes
        if sizes[i] > MOST_SHARED:
            raise NotSparse(f'all residuals depend on a parameter of shape {tuple(tangent_shape(self._columns.params[i]))}')
        begin, p = sum(sizes[:i]), self._columns.params[i]
        push = pushforward(self._problem, self._columns)
        unit = torch.eye(self._columns.count, dtype=p.dtype, device=p.device)[begin:begin + sizes[i]]
        try:
            found = [push(row.unsqueeze(0)) for row in unit]
        except (RuntimeError, NotImplementedError, TypeError) as error:
            raise NotSparse(f'a parameter that all residuals share needs forward mode: {error}') from error
        return [torch.stack([f[o].detach() for f in found], -1) for o in range(len(found[0]))]
