"""The normal equations of a graph: which variable has which rows, where each factor's blocks go."""
from functools import cached_property

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.linalg import BlockPattern, BlockSparseMatrix, SchurCholesky, SparseCholesky
from pypose_core.linalg.schur import worth_eliminating

from .factors import EMPTY, Factors, Places
from .groups import NAV_STATE, Group, normalized
from .operations import operations

Values = dict[str, Tensor]


class Problem:
    """H d = -g with H = sum J' Omega J and g = sum J' Omega r, on a pattern analysed once.

    Args:
        groups: of each set.
        counts: variables in each set.
        held: (N,) bool of each set; held variables have no rows.
        factors: all batches.
    """

    def __init__(self, groups: dict[str, Group], counts: dict[str, int], held: dict[str, Tensor],
                 factors: list[Factors]):
        self.groups, self.counts, self.factors = groups, counts, list(factors)
        self.block: dict[str, Tensor] = {}      # (N,) block row of each variable, -1 where held
        sizes, blocks = [], 0
        for name, group in groups.items():
            free = ~held[name]
            block = torch.full((counts[name],), -1)
            block[free] = torch.arange(blocks, blocks + int(free.sum()))
            self.block[name] = block
            blocks += int(free.sum())
            sizes.append(torch.full((int(free.sum()),), group.dof))
        self.sizes = torch.cat(sizes) if sizes else torch.empty(0, dtype=torch.int64)
        self.pattern = BlockPattern(self.sizes, self._couplings())
        starts = torch.cat([self.pattern.starts[:-1], torch.tensor([-1])])
        self.column = {name: starts[block].contiguous() for name, block in self.block.items()}
        self.places = [self._places(f) for f in self.factors]
        self.unanchored = self._first_unanchored(held)
        self.eliminated = self._landmarks()
        self.solver: SparseCholesky | SchurCholesky = self.cholesky if self.eliminated is None else SchurCholesky(
            self.pattern, self._rows_of(self.eliminated))
        first = self.pattern.rows == self.pattern.columns
        self._diagonal = self._diagonal_places(self.pattern.begin[:-1][first])

    @cached_property
    def cholesky(self) -> SparseCholesky:
        """The factorization that knows no landmarks: for covariances, and where there are none."""
        return SparseCholesky(self.pattern)

    def _rows_of(self, name: str) -> Tensor:
        """(n,) which block rows belong to a set."""
        rows = torch.zeros(len(self.sizes), dtype=torch.bool)
        rows[self.block[name][self.block[name] >= 0]] = True
        return rows

    def _landmarks(self) -> str | None:
        """The set that is worth eliminating by itself."""
        return next((name for name in self.block if worth_eliminating(self.pattern, self._rows_of(name))), None)

    def _couplings(self) -> Tensor:
        pairs = [torch.empty(0, 2, dtype=torch.int64)]
        for f in self.factors:
            block = [self.block[name][f.index[:, k]] for k, name in enumerate(f.variables)]
            for a in range(len(block)):
                for b in range(a):
                    pair = torch.stack([block[a], block[b]], 1)
                    pairs.append(pair[(pair >= 0).all(1)])
        return torch.cat(pairs)

    def _places(self, f: Factors) -> Places:
        block = torch.stack([self.block[name][f.index[:, k]] for k, name in enumerate(f.variables)], 1)
        return Places(tuple(self.column[name] for name in f.variables),
                      operations.block_slots(self.pattern.handle, block))

    def _first_unanchored(self, held: dict[str, Tensor]) -> str:
        """The first variable of a part of the graph without prior or held variable; '' where there is none."""
        base, total = {}, 0
        for name, count in self.counts.items():
            base[name] = total
            total += count
        anchored = torch.cat([torch.empty(0, dtype=torch.bool), *(held[name] for name in self.counts)])
        edges = [torch.empty(0, 2, dtype=torch.int64)]
        for f in self.factors:
            nodes = f.index + torch.tensor([base[name] for name in f.variables])
            if f.absolute:
                anchored[nodes.reshape(-1)] = True
            edges += [nodes[:, [0, k]] for k in range(1, nodes.shape[1])]
        first = operations.graph_components(total, torch.cat(edges).contiguous())
        safe = torch.zeros(total, dtype=torch.bool)
        safe[first[anchored]] = True
        loose = (~safe[first]).nonzero()
        if not len(loose):
            return ''
        at = int(loose[0])
        return next(f'{name}[{at - base[name]}]' for name in reversed(self.counts) if base[name] <= at)

    def _diagonal_places(self, begin: Tensor) -> Tensor:
        """(dimension,) where each diagonal entry is in the values."""
        row = torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)
        within = torch.arange(self.pattern.dimension) - self.pattern.starts[row]
        return begin[row] + within * (self.sizes[row] + 1)

    @property
    def dimension(self) -> int:
        """Unknowns."""
        return self.pattern.dimension

    def variable(self, block: int) -> str:
        """The name of a block row's variable, `set[index]`."""
        for name, rows in self.block.items():
            found = (rows == block).nonzero()
            if len(found):
                return f'{name}[{int(found[0])}]'
        raise IndexError(f'no variable has block row {block}')

    def linearize(self, values: Values) -> tuple[float, float, BlockSparseMatrix, Tensor]:
        """(cost, chi2, H, g) at the values."""
        H, g = self.pattern.zeros(), torch.zeros(self.dimension, dtype=torch.float64)
        cost = chi2 = 0.0
        for factors, places in zip(self.factors, self.places):
            one = factors.linearize(values, places, H.values, g)
            cost, chi2 = cost + one[0], chi2 + one[1]
        return cost, chi2, H, g

    def cost(self, values: Values) -> tuple[float, float]:
        """(cost, chi2) at the values."""
        costs = [factors.linearize(values, None, EMPTY.clone(), EMPTY.clone()) for factors in self.factors]
        return sum(c for c, _ in costs), sum(c for _, c in costs)

    def diagonal(self, H: BlockSparseMatrix) -> Tensor:
        """(dimension,) diagonal of H."""
        return H.values[self._diagonal]

    def split(self, step: Tensor) -> Values:
        """(N, dof) of each set from (dimension,); zero where a variable is held."""
        out = {}
        padded = torch.cat([step, step.new_zeros(max(group.dof for group in self.groups.values()))])
        for name, group in self.groups.items():
            column = torch.where(self.column[name] < 0, len(step), self.column[name])
            out[name] = padded[column[:, None] + torch.arange(group.dof)]
        return out

    def join(self, parts: Values) -> Tensor:
        """(dimension,) from (N, dof) of each set; what belongs to held variables is left out."""
        out = torch.zeros(self.dimension, dtype=torch.float64)
        for name, part in parts.items():
            free = self.column[name] >= 0
            out[self.column[name][free][:, None] + torch.arange(part.shape[1])] = part[free]
        return out

    def retract(self, values: Values, step: Tensor) -> Values:
        """X Exp(d) for every variable that is not held."""
        moved = {}
        for name, X in values.items():
            group, column = self.groups[name], self.column[name]
            if group.native:
                moved[name] = torch.ops.pypose.graph_retract(X, column, step)
            elif group is NAV_STATE and native.available:
                moved[name] = torch.ops.pypose.graph_nav_retract(X, column, step)
            else:
                free = column >= 0
                moved[name] = X.clone()
                d = step[column[free][:, None] + torch.arange(group.dof)]
                moved[name][free] = normalized(group, group.retract(X[free], d))
        return moved
