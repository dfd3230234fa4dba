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
from pypose_core.optim.tangent import is_group, leaf_gradient_columns, tangent_gradient

MOST_SHARED = 64        # columns of parameters that all residuals share: as many tangents in forward mode
WIDEST = 256            # numbers of one residual: each costs a pass in reverse mode
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
        values = leaf.clone()       # no leaf: a model may write into what it gathered
        return as_type(values, type(source).kind) if isinstance(source, LieTensor) else values


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
    elif isinstance(first, slice) or isinstance(first, list) and first and all(isinstance(i, int) for i in first):
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
    """(n, width, dof) by the element; None: the row is the element itself."""


@torch.enable_grad()
def linearize_gathers(problem: Problem) -> Linearization:
    """The residuals and a BlockJacobian.

    Raises:
        NotSparse: a residual depends on other rows than its own, or on nearly all parameters.
    """
    with Gathers() as seen:
        residuals = problem.residuals()
    gathers, params = seen.found, problem.params
    leaves = [g.leaf for g in gathers] + list(params)
    columns = Columns(params, torch.Size())
    offsets = torch.tensor([0, *columns.sizes]).cumsum(0).tolist()
    sources = [_rows_of_source(g, params, leaves[:len(gathers)]) for g in gathers]
    parts: list[list[Blocks]] = []
    shared: dict[int, list[tuple[int, int]]] = {}       # of each parameter: outputs and their rows
    for r in residuals:
        if not r.numel() or not r.requires_grad:
            raise NotSparse('a residual depends on no parameter')
        u = random_like(r.shape, r)
        pulled = _pull(r, leaves, u)
        used = [k for k in range(len(gathers)) if pulled[k] is not None]
        shape = _common_rows(r, [gathers[k] for k in used])
        m, width = math.prod(shape), r.numel() // math.prod(shape)
        if width > WIDEST:
            raise NotSparse(f'a residual has {width} numbers')
        flat, blocks = r.reshape(m, width), []
        by_row = [_pull(flat, [leaves[k] for k in used], e.expand_as(flat))
                  for e in torch.eye(width, dtype=r.dtype, device=r.device)] if used else []
        for at, k in enumerate(used):
            g, slots = gathers[k], gathers[k].rows.reshape(m, -1)
            stored = g.leaf.shape[g.rows.dim():].numel()
            J = torch.stack([_dense(row[at], g.leaf).reshape(m, -1, stored) for row in by_row], 1)
            if _differs(u.reshape(m, width), J, _dense(pulled[k], g.leaf).reshape(m, -1)):
                raise NotSparse('a residual depends on rows of others')
            values = g.leaf.detach().reshape(m, -1, stored)
            for i, rows in sources[k].items():
                blocks += [_chain(params[i], offsets[i], rows, slots[:, s], J[:, :, s], values[:, s])
                           for s in range(slots.shape[1])]
        for i, p in enumerate(params):
            direct = pulled[len(gathers) + i]
            if direct is not None and bool(plain(direct).any()):
                own = _injective(flat, p)
                if own is None:
                    shared.setdefault(i, []).append((len(parts), m))
                else:
                    blocks.append(Blocks(offsets[i], *own))
        parts.append(blocks)
    if sum(columns.sizes[i] for i in shared) > MOST_SHARED or not all(parts):
        raise NotSparse('residuals depend on too many elements of the parameters')
    _add_shared(parts, shared, problem, columns, offsets)
    detached = [r.detach() for r in residuals]
    partition = [(1, size) if i in shared else (elements(p), size // elements(p))
                 for i, (p, size) in enumerate(zip(params, columns.sizes))]
    dofs = {offset: dof for offset, (_, dof) in zip(offsets, partition)}
    if any(b.dof != dofs[b.offset] for blocks in parts for b in blocks):
        raise NotSparse('a parameter of which elements are gathered is shared by all residuals too')
    jacobian = BlockJacobian([r.reshape(-1) for r in detached], parts, partition)
    structure = in_order(torch.Size(), detached, 'one sparse problem: each residual depends on '
                         f'{" or ".join(str(n) for n in sorted({len(b) for b in parts}))} elements of the parameters')
    broken = torch.zeros((), dtype=torch.bool, device=detached[0].device)
    return Linearization(structure, columns, detached, jacobian, broken)


def _common_rows(r: Tensor, gathers: Sequence[Gather]) -> torch.Size:
    """The dimensions of a residual that count rows: those that all gathers it is made of begin with."""
    shape = r.shape[:-1]
    for g in gathers:
        shared = 0
        while shared < min(len(shape), g.rows.dim()) and shape[shared] == g.rows.shape[shared]:
            shared += 1
        shape = shape[:shared]
    return shape


def _pull(flat: Tensor, leaves: Sequence[Tensor], u: Tensor) -> list[Tensor | None]:
    return list(torch.autograd.grad(flat, leaves, u, retain_graph=True, allow_unused=True))


def _dense(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if gradient is None else gradient


def _differs(u: Tensor, J: Tensor, pulled: Tensor) -> bool:
    """Whether a gradient is another than rows of their own make it."""
    J = J.flatten(2)
    expected, scale = torch.einsum('mk,mkn->mn', u, J), torch.einsum('mk,mkn->mn', u.abs(), J.abs())
    return bool(differ(pulled, expected, scale.amax(1, keepdim=True)))


def _rows_of_source(g: Gather, params: Sequence[Tensor], leaves: Sequence[Tensor]) -> dict[int, _Rows]:
    """How the rows of a gather's source are made of each parameter."""
    for i, p in enumerate(params):
        if g.source is p:
            return {i: _Rows(torch.arange(elements(p), device=p.device), None)}
    flat = plain(g.source).reshape(g.source.shape[0], -1)
    if any(x is not None for x in _pull(flat, leaves, torch.ones_like(flat))):
        raise NotSparse('what is gathered is made of what was gathered before')
    made = {}
    for i, p in enumerate(params):
        if torch.autograd.grad(flat.sum(), p, retain_graph=True, allow_unused=True)[0] is None:
            continue
        found = _injective(flat, p)
        if found is None:
            raise NotSparse('what is gathered mixes elements of a parameter')
        made[i] = _Rows(*found)
    return made


def _injective(flat: Tensor, p: Tensor) -> tuple[Tensor, Tensor] | None:
    """How rows (n, width) are made of the elements of p, as of `_Rows`; None where an element goes into several.

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
    unit = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
    J = torch.stack([pull(e.expand_as(flat)) for e in unit], 1)
    return element, torch.where((element >= 0)[:, None, None], J[element.clamp(min=0)], 0)


def _chain(p: Tensor, offset: int, rows: _Rows, at: Tensor, J: Tensor, value: Tensor) -> Blocks:
    """Derivatives by elements of p, from those by rows of a gather's source.

    Args:
        p, offset: the parameter, and the column at which it begins.
        rows: how the source's rows are made of p.
        at: (m,) the rows. J: (m, width, stored) derivatives by them. value: (m, stored) what they are.
    """
    if rows.derivative is not None:
        J = J @ rows.derivative[at]
    elif is_group(p):
        each = (*J.shape[:2], -1, p.shape[-1])
        point = as_type(value.unsqueeze(1).expand_as(J).reshape(each), type(p).kind)
        J = tangent_gradient(point, J.reshape(each)).flatten(2)
    return Blocks(offset, rows.element[at], J)


def _add_shared(parts: list[list[Blocks]], shared: dict[int, list[tuple[int, int]]], problem: Problem, columns: Columns,
                offsets: Sequence[int]) -> None:
    """Blocks of the parameters that all residuals share, all columns at once in forward mode."""
    push = pushforward(problem, columns)
    for i, outputs in shared.items():
        p = problem.params[i]
        unit = torch.eye(columns.count, dtype=p.dtype, device=p.device)[offsets[i]:offsets[i + 1]]
        try:
            found = torch.func.vmap(lambda row: tuple(push(row.unsqueeze(0))))(unit)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            raise NotSparse(f'a parameter that all residuals share needs forward mode: {error}') from error
        for o, m in outputs:
            values = found[o].detach().reshape(len(unit), m, -1).permute(1, 2, 0)
            parts[o].append(Blocks(offsets[i], torch.zeros(m, dtype=torch.long, device=p.device), values))
