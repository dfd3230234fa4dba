"""Structure of a Jacobian: which of many independent problems each residual belongs to.

Parameters that share leading dimensions L, say poses of shape (1000, 7), may be as many independent problems
as L counts.  They are if every residual depends on one of them only, be it the one at the same place of L
(`output[i]` of `pose[i]`) or one that the model gathers (`pose[index]`, several residuals for one pose).  The
Jacobian is then one small matrix for each problem; a model without such structure is one problem.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.optim.problem import Problem
from pypose_core.optim.tangent import batch_shape, leaf_gradient_columns, tangent_shape, velocity


class Columns:
    """The tangent spaces of all parameters as (problems, columns), for parameters with leading dimensions L."""

    def __init__(self, params: Sequence[Tensor], batch: torch.Size):
        self.params = params
        self.problems = math.prod(batch)
        self.shapes = [tangent_shape(p) for p in params]
        self.sizes = [math.prod(shape) // self.problems for shape in self.shapes]
        self.count = sum(self.sizes)

    def split(self, steps: Tensor) -> list[Tensor]:
        """(problems, columns) to a step for each parameter."""
        return [s.reshape(shape) for s, shape in zip(steps.split(self.sizes, 1), self.shapes)]

    def join(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """Gradients by each parameter's tangent (None: zero) to (problems, columns)."""
        parts = [p.new_zeros(self.problems, size) if g is None else g.reshape(self.problems, size)
                 for p, g, size in zip(self.params, gradients, self.sizes)]
        return torch.cat([p.as_subclass(Tensor) for p in parts], 1)


@dataclass(frozen=True)
class Structure:
    """Where the numbers of all residuals stand among the independent problems."""
    batch: torch.Size
    """L: one problem for each place; () where all is one problem."""
    height: int
    """Residual numbers of the problem that has most."""
    owners: tuple[Tensor, ...] | None
    """The problem of each residual, for each output of the model; None: in the order of L."""
    places: Tensor | None
    """Where in (problems x height) each residual number goes; None: in the order of L."""
    sizes: tuple[tuple[int, int], ...]
    """(residuals, numbers of each) for each output of the model."""
    sentence: str
    """What was found, for people."""

    @property
    def problems(self) -> int:
        return math.prod(self.batch)

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        """Numbers of each output (residuals x numbers, ...) to (problems, height, ...), padded with zeros."""
        if self.places is None:
            parts = [p.reshape(self.problems, -1, *p.shape[1:]) for p in parts]
            return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        flat = torch.cat(list(parts))
        stacked = flat.new_zeros(self.problems * self.height, *flat.shape[1:])
        return stacked.index_copy(0, self.places, flat).reshape(self.problems, self.height, *flat.shape[1:])

    def unstack(self, stacked: Tensor) -> list[Tensor]:
        """The inverse of stack()."""
        counts = [m * d for m, d in self.sizes]
        if self.places is None:
            parts = stacked.split([n // self.problems for n in counts], 1)
            return [p.reshape(-1, *stacked.shape[2:]) for p in parts]
        return list(stacked.flatten(0, 1)[self.places].split(counts))

    def sum(self, costs: Sequence[Tensor]) -> Tensor:
        """One number for each residual to the sum for each problem."""
        if self.owners is None:
            return torch.stack([c.reshape(self.problems, -1).sum(1) for c in costs]).sum(0)
        total = costs[0].new_zeros(self.problems)
        for owner, cost in zip(self.owners, costs):
            total = total.index_add(0, owner, cost.reshape(-1))
        return total


def _sizes(residuals: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    return tuple((r.numel() // r.shape[-1], r.shape[-1]) for r in residuals)


def in_order(batch: torch.Size, residuals: Sequence[Tensor], sentence: str) -> Structure:
    """Residuals in the order of the problems."""
    sizes = _sizes(residuals)
    height = sum(m * d for m, d in sizes) // math.prod(batch)
    return Structure(batch, height, None, None, sizes, sentence)


def gathered(batch: torch.Size, residuals: Sequence[Tensor], owners: Sequence[Tensor], sentence: str) -> Structure:
    """Residuals in any order, with the problem of each given."""
    sizes, problems = _sizes(residuals), math.prod(batch)
    owner = torch.cat(list(owners))
    width = torch.cat([torch.full((m,), d, device=owner.device) for m, d in sizes])
    order = torch.sort(owner, stable=True).indices
    ends = width[order].cumsum(0)
    total = torch.zeros(problems, dtype=width.dtype, device=width.device).index_add(0, owner, width)
    begin = (total.cumsum(0) - total)[owner]
    offset = torch.empty_like(ends).index_copy(0, order, ends - width[order]) - begin
    height = int(total.max())
    places, start = [], 0
    for m, d in sizes:
        first = (owner * height + offset)[start:start + m]
        places.append((first[:, None] + torch.arange(d, device=owner.device)).reshape(-1))
        start += m
    return Structure(batch, height, tuple(owners), torch.cat(places), sizes, sentence)


def relative_tolerance(dtype: torch.dtype) -> float:
    """Differences of derivatives below this are rounding."""
    return 1e5 * torch.finfo(dtype).eps


def differ(actual: Tensor, expected: Tensor, scale: Tensor) -> Tensor:
    """Whether any number differs by more than rounding; scale broadcasts. NaN differs from nothing."""
    tolerance = relative_tolerance(actual.dtype)
    floor = 10 * torch.finfo(actual.dtype).eps * scale.amax()
    return ((actual - expected).abs() > tolerance * scale + floor).any()


def random_like(shape: Sequence[int], like: Tensor) -> Tensor:
    """Numbers in ±[0.5, 1.5], the same at every call, drawn from no generator of the user's."""
    return _random(tuple(shape), like.dtype, like.device)


@functools.lru_cache(maxsize=8)
def _random(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept on the device: each linearization needs them, and copying them there would wait for it.
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(20)
        numbers = torch.rand(*shape, generator=generator) + 0.5
        sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        return (numbers * sign).to(device, dtype)


def pullback(problem: Problem, columns: Columns, stacked: Tensor) -> Callable[[Tensor], Tensor]:
    """u (problems, height) -> uᵀ J, summed over residuals; (problems, columns)."""
    def pull(u: Tensor) -> Tensor:
        if not stacked.requires_grad:
            return columns.join([None] * len(problem.params))
        gradients = torch.autograd.grad(stacked, problem.params, u, retain_graph=True, allow_unused=True)
        return columns.join([None if g is None else leaf_gradient_columns(p, g)
                             for p, g in zip(problem.params, gradients)])
    return pull


def pushforward(problem: Problem, columns: Columns) -> Callable[[Tensor], list[Tensor]]:
    """v (problems, columns) -> J v for each output of the model; by forward-mode differentiation."""
    values = [p.detach().as_subclass(Tensor) for p in problem.params]

    def residuals(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(problem.residuals_at(values))

    def push(v: Tensor) -> list[Tensor]:
        motion = [velocity(p, value, s) for p, value, s in zip(problem.params, values, columns.split(v))]
        return list(torch.func.jvp(residuals, tuple(values), tuple(motion))[1])
    return push


def _is_in_order(problem: Problem, structure: Structure, residuals: Sequence[Tensor]) -> bool:
    """Whether scaling the cotangents of each problem scales its gradient alike, and no other's."""
    columns = Columns(problem.params, structure.batch)
    with torch.enable_grad():
        stacked = structure.stack([r.reshape(-1) for r in residuals])
    pull = pullback(problem, columns, stacked)
    u, scale = random_like(stacked.shape, stacked), random_like((stacked.shape[0], 1), stacked).abs()
    g = pull(u)
    return not bool(differ(pull(scale * u), scale * g, g.abs().amax(1, keepdim=True)))


def _owners(problem: Problem, batch: torch.Size, residuals: Sequence[Tensor]) -> list[Tensor] | None:
    """The problem that each residual depends on, or None where one depends on several.

    Moving only those problems whose number has bit k set tells bit k of a residual's owner: the residual moves
    as it does when all move, or not at all.
    """
    columns = Columns(problem.params, batch)
    push = pushforward(problem, columns)
    v = random_like((columns.problems, columns.count), residuals[0])
    number = torch.arange(columns.problems, device=v.device)

    def moves(mask: Tensor) -> list[Tensor]:
        return [y.detach().reshape(-1, y.shape[-1]) for y in push(torch.where(mask[:, None], v, 0))]

    whole = moves(number >= 0)
    owners = [torch.zeros(len(y), dtype=torch.long, device=v.device) for y in whole]
    for k in range((columns.problems - 1).bit_length()):
        mixed = torch.zeros((), dtype=torch.bool, device=v.device)
        for owner, y, part in zip(owners, whole, moves((number >> k) & 1 == 1)):
            with_bit, without = part.norm(dim=-1), (y - part).norm(dim=-1)
            rounding = relative_tolerance(y.dtype) * y.norm(dim=-1)
            mixed = mixed | ((with_bit > rounding) & (without > rounding)).any()
            owner += (with_bit > rounding).long() << k
        if bool(mixed):
            return None
    return owners


def find_structure(problem: Problem, residuals: Sequence[Tensor]) -> Structure:
    """The finest structure of a problem, found by a few derivatives at its present parameters.

    Args:
        problem: the problem.
        residuals: its residuals, in the graph of its parameters.
    """
    shapes = [batch_shape(p) for p in problem.params]
    shared = 0
    while all(len(s) > shared and s[shared] == shapes[0][shared] for s in shapes):
        shared += 1
    candidates = [shapes[0][:n] for n in range(shared, 0, -1) if math.prod(shapes[0][:n]) > 1]
    for batch in candidates:
        if all(r.shape[:len(batch)] == batch and r.ndim > len(batch) for r in residuals):
            found = in_order(batch, residuals, f'{math.prod(batch)} independent problems, in the order of the '
                             f'leading dimensions {tuple(batch)}')
            if _is_in_order(problem, found, residuals):
                return found
    dense = torch.Size()
    for batch in candidates:
        try:
            owners = _owners(problem, batch, residuals)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error) else type(error).__name__
            return in_order(dense, residuals, 'one dense problem: the model cannot be differentiated in forward '
                            f'mode, which finding gathers needs ({reason})')
        if owners is not None:
            return gathered(batch, residuals, owners, f'{math.prod(batch)} independent problems, of leading '
                            f'dimensions {tuple(batch)}, gathered by the model')
    return in_order(dense, residuals, 'one dense problem: ' + (
        'some residual depends on several elements of the parameters' if candidates else
        'the parameters share no leading dimension'))
