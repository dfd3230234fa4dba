"""P + Mᵀ Ω M for sparse P and M, on a pattern that is analysed once."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pypose_core.convex.cones import Cones
from pypose_core.linalg import BlockPattern, BlockSparseMatrix, SparseCholesky


def groups_squared(group: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs (a, b) of members of the same group; `group` (k,) ascends."""
    counts = torch.bincount(group) if len(group) else group
    first = counts.cumsum(0) - counts
    repeats = counts[group]
    a = torch.repeat_interleave(torch.arange(len(group)), repeats)
    within = torch.arange(len(a)) - torch.repeat_interleave(repeats.cumsum(0) - repeats, repeats)
    return a, first[group[a]] + within


class NormalMatrix:
    """H = P + Mᵀ Ω M with Ω diagonal but for the rows of second-order cones, where it has terms c v vᵀ.

    Args:
        n: columns.
        P: (2, entries) places of P. M: (2, entries) places of M, rows ascending.
        cones: of the last rows of M.
        rows: of M.
    """

    def __init__(self, n: int, P: Tensor, M: Tensor, cones: Cones, rows: int):
        self.n, self.rows, self.M, self.cones = n, rows, M, cones
        a, b = groups_squared(M[0])
        lower = M[1][a] >= M[1][b]
        self.products = a[lower], b[lower]
        # The columns that a cone has at all, as slots; an entry of M goes to the slot of its column.
        first = rows - cones.rows + cones.linear
        self.inside = (M[0] >= first).nonzero()[:, 0]
        cone = cones.owner[M[0][self.inside] - first]
        keys, self.slot = torch.unique(cone * n + M[1][self.inside], return_inverse=True)
        self.slots = len(keys)
        owner, column = keys // n, keys % n
        c, d = groups_squared(owner)
        lower = column[c] >= column[d]
        self.squares, self.square_owner = (c[lower], d[lower]), owner[c[lower]]
        pairs = [torch.stack([P.amax(0), P.amin(0)], 1), torch.stack([M[1][i] for i in self.products], 1),
                 torch.stack([column[i] for i in self.squares], 1)]
        self.pattern = BlockPattern(torch.ones(n, dtype=torch.int64), torch.cat(pairs))
        self.to_P, self.to_products, self.to_squares = (self.pattern.offsets(p) for p in pairs)
        self.half = torch.where(P[0] == P[1], 1.0, 0.5).double()     # both triangles of P are given
        self.factor = SparseCholesky(self.pattern)

    def factorize(self, P: Tensor, M: Tensor, weights: Tensor, squares: Sequence[tuple[Tensor, Tensor]],
                  shift: float) -> bool:
        """Factorize H + shift I; False where that is not positive definite.

        Args:
            P, M: values at their places.
            weights: (rows,) the diagonal of Ω.
            squares: (c, v) with c (cones,) and v (rows of the cones and the linear rows before them,).
        """
        H = torch.zeros(self.pattern.value_count, dtype=torch.float64)
        H.index_add_(0, self.to_P, self.half * P)
        a, b = self.products
        H.index_add_(0, self.to_products, weights[self.M[0][a]] * M[a] * M[b])
        for c, v in squares:
            row = self.M[0][self.inside] - (self.rows - self.cones.rows)
            u = H.new_zeros(self.slots).index_add_(0, self.slot, M[self.inside] * v[row])
            H.index_add_(0, self.to_squares, c[self.square_owner] * u[self.squares[0]] * u[self.squares[1]])
        return self.factor.try_factorize(BlockSparseMatrix(self.pattern, H), shift=shift) < 0

    def solve(self, b: Tensor) -> Tensor:
        """H⁻¹ b."""
        return self.factor.solve(b)
