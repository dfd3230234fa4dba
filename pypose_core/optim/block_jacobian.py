"""Jacobians of which each row has few blocks, and their normal equations."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pypose_core.graph.operations import operations
from pypose_core.linalg import BlockPattern, BlockSparseMatrix, SchurCholesky, SparseCholesky, conjugate_gradients
from pypose_core.linalg.schur import worth_eliminating
from pypose_core.optim.solver import CG


@dataclass(frozen=True)
class Blocks:
    """Derivatives of m rows of residuals by one element of a parameter each."""

    offset: int
    """Column at which the parameter begins."""
    element: Tensor
    """(m,) of the parameter; -1: none."""
    values: Tensor
    """(m, width, dof)."""

    @property
    def dof(self) -> int:
        """Columns of one element."""
        return self.values.shape[-1]

    @property
    def columns(self) -> Tensor:
        """(m, dof) of each element; those of none are the first ones, where their values are zero."""
        first = self.offset + self.element.clamp(min=0) * self.dof
        return first[:, None] + torch.arange(self.dof, device=first.device)


class BlockJacobian:
    """J of all residuals, (height, count), as what a strategy may ask of a matrix: `J @ D`, `J.mT @ R`, shape.

    Args:
        residuals: (numbers,) of each output.
        parts: the blocks of each output.
        elements: of each parameter, the number of its elements and the columns of one.
    """

    def __init__(self, residuals: Sequence[Tensor], parts: Sequence[Sequence[Blocks]],
                 elements: Sequence[tuple[int, int]]):
        self.parts = [_distinct(blocks) for blocks in parts]
        self.heights, self.elements = [len(r) for r in residuals], list(elements)
        self.count = sum(n * dof for n, dof in elements)
        self._like = residuals[0]

    @property
    def shape(self) -> torch.Size:
        """(height, count)."""
        return torch.Size((sum(self.heights), self.count))

    def unstack(self) -> list[Tensor]:
        """(numbers, columns of its blocks) of each output: rows without what is zero."""
        return [torch.cat([b.values for b in blocks], -1).flatten(0, 1) if blocks else self._like.new_zeros(height, 0)
                for blocks, height in zip(self.parts, self.heights)]

    def restack(self, rows: Sequence[Tensor]) -> BlockJacobian:
        """The same with other rows, as of unstack()."""
        other = object.__new__(BlockJacobian)
        other.heights, other.elements = self.heights, self.elements
        other.count, other._like = self.count, self._like
        other.parts = []
        for blocks, z in zip(self.parts, rows):
            pieces = z.split([b.dof for b in blocks], -1) if blocks else ()
            other.parts.append([replace(b, values=piece.reshape(b.values.shape)) for b, piece in zip(blocks, pieces)])
        return other

    def __matmul__(self, D: Tensor) -> Tensor:
        """J D of (..., count, 1), with as many leading ones as D has."""
        d = D.reshape(self.count)
        out = []
        for blocks, height in zip(self.parts, self.heights):
            row = d.new_zeros(height)
            for b in blocks:
                row = row + (b.values @ d[b.columns].unsqueeze(-1)).reshape(-1)
            out.append(row)
        return torch.cat(out).reshape(*D.shape[:-2], -1, 1)

    @property
    def mT(self) -> _Transposed:
        """Jᵀ, which can be multiplied."""
        return _Transposed(self)

    T = mT

    def column_norms(self) -> Tensor:
        """(count,) lengths of the columns."""
        total = self._like.new_zeros(self.count)
        for blocks in self.parts:
            for b in blocks:
                total.index_add_(0, b.columns.reshape(-1), b.values.square().sum(1).reshape(-1))
        return total.sqrt()

    def isfinite(self) -> Tensor:
        """Whether all of it is finite (1,)."""
        return torch.stack([b.values.isfinite().all() for blocks in self.parts for b in blocks]).all().reshape(1)


def _distinct(blocks: Sequence[Blocks]) -> list[Blocks]:
    """Blocks that are zero where they belong to no element, and of which no row has two of the same element."""
    done: list[Blocks] = []
    for b in blocks:
        element, values = b.element, torch.where((b.element >= 0)[:, None, None], b.values.detach(), 0)
        for k, other in enumerate(done):
            if other.offset == b.offset:
                same = (other.element == element) & (element >= 0)
                mask = same[:, None, None]
                done[k] = replace(other, values=other.values + torch.where(mask, values, 0))
                element, values = torch.where(same, -1, element), torch.where(mask, 0, values)
        done.append(replace(b, element=element, values=values))
    return done


@dataclass(frozen=True)
class _Transposed:
    J: BlockJacobian

    def __matmul__(self, R: Tensor) -> Tensor:
        """Jᵀ R of (..., height, 1)."""
        out = R.new_zeros(self.J.count)
        for blocks, r in zip(self.J.parts, R.reshape(-1).split(self.J.heights)):
            for b in blocks:
                pulled = (r.reshape(len(b.element), 1, -1) @ b.values).reshape(-1)
                out.index_add_(0, b.columns.reshape(-1), pulled)
        return out.reshape(*R.shape[:-2], -1, 1)


class NormalEquations:
    """A = Jᵀ J and g = Jᵀ R of Jacobians whose blocks are at the same places; analysed once, float64, on the CPU.

    Args:
        J: the first of them.
    """

    def __init__(self, J: BlockJacobian):
        self._elements = J.elements
        self._at = _places(J)
        sizes = torch.tensor([dof for n, dof in J.elements for _ in range(n)])
        pairs = [torch.stack([a, b], 1)[(a >= 0) & (b >= 0)] for blocks in self._at
                 for k, a in enumerate(blocks) for b in blocks[:k]]
        self.pattern = BlockPattern(sizes, torch.cat([torch.empty(0, 2, dtype=torch.long), *pairs]))
        starts = torch.cat([self.pattern.starts[:-1], torch.tensor([-1])])
        self._columns = [starts[torch.stack(blocks, 1)].contiguous() for blocks in self._at]
        self._slots = [operations.block_slots(self.pattern.handle, torch.stack(blocks, 1)) for blocks in self._at]
        row = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        within = torch.arange(self.pattern.dimension) - self.pattern.starts[row]
        first = self.pattern.begin[:-1][self.pattern.rows == self.pattern.columns]
        self._diagonal = first[row] + within * (sizes[row] + 1)
        self._direct: SparseCholesky | SchurCholesky | None = None

    def fits(self, J: BlockJacobian) -> bool:
        """Whether J has its blocks at the same places."""
        at = _places(J)
        return J.elements == self._elements and [len(a) for a in at] == [len(a) for a in self._at] and all(
            torch.equal(a, b) for mine, theirs in zip(self._at, at) for a, b in zip(mine, theirs))

    def set(self, J: BlockJacobian, R: Tensor) -> None:
        """Take A and g of this Jacobian and these residuals (..., height, 1)."""
        self._like = R
        self._A = self.pattern.zeros()
        self.g = torch.zeros(J.count, dtype=torch.float64)
        empty = torch.empty(0, dtype=torch.float64)
        for blocks, z, r, columns, slots in zip(J.parts, J.unstack(), R.reshape(-1).split(J.heights), self._columns,
                                                self._slots):
            m = len(blocks[0].element)
            operations.graph_assemble(
                z.reshape(m, -1, z.shape[-1]).cpu().double().contiguous(), r.reshape(m, -1).cpu().double().contiguous(),
                [b.dof for b in blocks], empty, 0, 0.0, columns, slots, self._A.values, self.g)

    @property
    def diagonal(self) -> Tensor:
        """(count,) of A."""
        return self._A.values[self._diagonal]

    def clamp_diagonal(self, least: float, most: float) -> None:
        """Keep the diagonal within bounds."""
        self._A.values[self._diagonal] = self.diagonal.clamp(least, most)

    def solve(self, solver: Callable, damping: float = 0.0) -> tuple[Tensor, Tensor]:
        """(A + damping diag A) d = -g: d (1, count, 1), and whether it was found (1)."""
        if isinstance(solver, CG):
            values = self._A.values.clone()
            values[self._diagonal] *= 1 + damping
            limit = 10 * len(self.g) if solver.maxiter is None else solver.maxiter
            found = conjugate_gradients(BlockSparseMatrix(self.pattern, values), -self.g, tolerance=solver.tol,
                                        max_iterations=limit).value
        elif self.direct.try_factorize(self._A, damping=damping) < 0:
            found = self.direct.solve(-self.g)
        else:
            found = torch.full_like(self.g, torch.nan)
        finite = found.isfinite().all()
        return torch.where(finite, found, 0).to(self._like).reshape(1, -1, 1), finite.reshape(1).to(self._like.device)

    @property
    def direct(self) -> SparseCholesky | SchurCholesky:
        """The factorization, of the Schur complement where one parameter's elements are worth eliminating first."""
        if self._direct is None:
            parameter = torch.cat([torch.full((n,), i) for i, (n, _) in enumerate(self._elements)])
            alone = [parameter == i for i in range(len(self._elements))]
            chosen = next((own for own in alone if worth_eliminating(self.pattern, own)), None)
            self._direct = SparseCholesky(self.pattern) if chosen is None else SchurCholesky(self.pattern, chosen)
        return self._direct


def _places(J: BlockJacobian) -> list[list[Tensor]]:
    """The block row of each block's element, -1 where there is none."""
    first, column, rows = {}, 0, 0
    for n, dof in J.elements:
        first[column] = rows
        rows, column = rows + n, column + n * dof
    return [[torch.where(b.element >= 0, b.element + first[b.offset], -1).cpu() for b in blocks] for blocks in J.parts]
