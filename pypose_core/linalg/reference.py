"""The block-sparse operations without the native kernels: slower, and of the same names, arguments and results.

Factorizations are SciPy's SuperLU with pivots kept on the diagonal, L D L' of the scalar matrix.
"""
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from .csr import lower_csr, scalar_places

SMALLEST_PIVOT = 1e-14
"""Of the diagonal, as in the native factorization: below it a variable counts as undetermined."""
COLUMNS_AT_ONCE = 256
"""Of the inverse, which is not kept whole."""


class Pattern:
    """The lower blocks of a symmetric block matrix, by columns."""

    def __init__(self, sizes: Tensor, couplings: Tensor):
        n = len(sizes)
        bad = (sizes <= 0).nonzero()[:, 0]
        if len(bad):
            raise RuntimeError(f'block {int(bad[0])} has size {int(sizes[bad[0]])}')
        outside = ((couplings < 0) | (couplings >= n)).any(1).nonzero()[:, 0]
        if len(outside):
            raise RuntimeError(f'coupling {tuple(couplings[outside[0]].tolist())} is not among {n} blocks')
        low, high = couplings.min(1).values, couplings.max(1).values
        diagonal = torch.arange(n) * (n + 1)
        self.keys = torch.cat([low * n + high, diagonal]).unique()
        self.sizes, self.rows, self.columns = sizes, self.keys % max(n, 1), self.keys // max(n, 1)
        areas = sizes[self.rows] * sizes[self.columns]
        self.begin = torch.cat([areas.new_zeros(1), areas.cumsum(0)])
        self.starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        self.dimension = int(self.starts[-1])

    def find(self, i: Tensor, j: Tensor) -> Tensor:
        """Which stored block (i, j), i >= j, is; -1 where there is none."""
        wanted = j * len(self.sizes) + i
        at = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[at] == wanted, at, -1) if len(self.keys) else torch.full_like(wanted, -1)

    @cached_property
    def lower(self) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """(starts, columns, sources) as `lower_csr` has them."""
        starts, columns, source = lower_csr(self)
        return starts.numpy(), columns.numpy(), source


def block_pattern(sizes: Tensor, couplings: Tensor) -> Pattern:
    """A pattern of blocks coupled in pairs."""
    return Pattern(sizes, couplings)


def block_pattern_layout(pattern: Pattern) -> tuple[Tensor, Tensor, Tensor]:
    """(rows, columns, offsets into the values) of the stored blocks."""
    return pattern.rows, pattern.columns, pattern.begin


def block_offsets(pattern: Pattern, pairs: Tensor) -> Tensor:
    """Where block (i, j), i >= j, starts in the values, for each row of `pairs`; -1 where there is none."""
    i, j = pairs.unbind(1)
    bad = ((j < 0) | (j > i) | (i >= len(pattern.sizes))).nonzero()[:, 0]
    if len(bad):
        raise RuntimeError(f'block {tuple(pairs[bad[0]].tolist())} is not in the lower triangle of '
                           f'{len(pattern.sizes)} blocks')
    found = pattern.find(i, j)
    return torch.where(found < 0, -1, pattern.begin[found])


def block_slots(pattern: Pattern, blocks: Tensor) -> Tensor:
    """For rows (M, V) of blocks, the places of their pairs (a, b <= a) as (M, V (V + 1) / 2): 2 offset + transposed,
    or -1 where one of the two blocks is -1."""
    out = []
    for a in range(blocks.shape[1]):
        for b in range(a + 1):
            i, j = blocks[:, a], blocks[:, b]
            free = (i >= 0) & (j >= 0)
            found = pattern.find(torch.maximum(i, j), torch.minimum(i, j))
            missing = (free & (found < 0)).nonzero()[:, 0]
            if len(missing):
                raise RuntimeError(f'the pattern has no block {(int(i[missing[0]]), int(j[missing[0]]))}')
            out.append(torch.where(free, 2 * pattern.begin[found] + (i < j), -1))
    return torch.stack(out, 1) if out else torch.empty(len(blocks), 0, dtype=torch.int64)


def block_multiply(pattern: Pattern, values: Tensor, x: Tensor) -> Tensor:
    """A x for x (dimension,)."""
    starts, columns, source = pattern.lower
    L = csr_matrix((values[source].numpy(), columns, starts), shape=(pattern.dimension, pattern.dimension))
    return torch.from_numpy(L @ x.numpy() + L.T @ x.numpy() - L.diagonal() * x.numpy())


def block_conjugate_gradients(pattern: Pattern, values: Tensor, b: Tensor, x0: Tensor, tolerance: float,
                              max_iterations: int) -> tuple[Tensor, int, float, int, bool]:
    """(x, iterations, relative residual, block that is not positive definite or -1, whether A was found indefinite)"""
    size = float(b.norm())
    if size == 0:
        return torch.zeros_like(b), 0, 0.0, -1, False
    x = x0.clone()
    r = b - block_multiply(pattern, values, x)
    groups, failed = _diagonal_factors(pattern, values)
    residual, iterations = float(r.norm()) / size, 0
    if failed >= 0:
        return x, 0, residual, failed, False

    def preconditioned(r: Tensor) -> Tensor:
        z = torch.empty_like(r)
        for rows, L in groups:
            z[rows] = torch.cholesky_solve(r[rows][..., None], L)[..., 0]
        return z

    z = preconditioned(r)
    d, rz = z.clone(), float(r @ z)
    while residual > tolerance and iterations < max_iterations:
        Ad = block_multiply(pattern, values, d)
        curvature = float(d @ Ad)
        if not curvature > 0:
            return x, iterations, residual, -1, True
        x, r = x + rz / curvature * d, r - rz / curvature * Ad
        iterations += 1
        residual, z, last = float(r.norm()) / size, preconditioned(r), rz
        rz = float(r @ z)
        d = z + rz / last * d
    return x, iterations, residual, -1, False


def _diagonal_factors(pattern: Pattern, values: Tensor) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """Diagonal blocks of each size as (scalar rows (K, size), Cholesky factors (K, size, size)), and the first block
    that has none, or -1."""
    begin, groups, failed = pattern.begin[:-1][pattern.rows == pattern.columns], [], []
    for size in pattern.sizes.unique().tolist():
        some = (pattern.sizes == size).nonzero()[:, 0]
        block = values[begin[some][:, None] + torch.arange(size * size)].view(-1, size, size).tril()
        L, info = torch.linalg.cholesky_ex(block + block.tril(-1).mT)
        failed += some[info > 0].tolist()
        groups.append((pattern.starts[some][:, None] + torch.arange(size), L))
    return groups, min(failed, default=-1)


class Symbolic:
    """An order of elimination, and the matrix in it."""

    def __init__(self, pattern: Pattern, order: Tensor | None):
        n = len(pattern.sizes)
        self.pattern, self.order = pattern, _minimum_degree(pattern) if order is None else order
        if not torch.equal(self.order.sort().values, torch.arange(n)):
            raise RuntimeError(f'order is not a permutation: {self.order.tolist()[:10]}')
        sizes = pattern.sizes[self.order]
        within = torch.arange(pattern.dimension) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        self.rows = torch.repeat_interleave(pattern.starts[self.order], sizes) + within   # of A, in order
        self.block = torch.repeat_interleave(self.order, sizes)
        starts, columns, source = pattern.lower
        row = torch.repeat_interleave(torch.arange(pattern.dimension), torch.from_numpy(np.diff(starts)).long())
        column, place = torch.from_numpy(columns).long(), self.rows.argsort()
        below = row != column
        i, j = torch.cat([row, column[below]]), torch.cat([column, row[below]])
        n = pattern.dimension
        self.matrix = csc_matrix((np.arange(1, len(i) + 1, dtype=np.float64), (place[i].numpy(), place[j].numpy())),
                                 shape=(n, n))
        self.matrix.sort_indices()
        self.source = torch.cat([source, source[below]])[torch.from_numpy(self.matrix.data).long() - 1]
        self.diagonal = np.flatnonzero(self.matrix.indices == np.repeat(np.arange(n), np.diff(self.matrix.indptr)))


def _minimum_degree(pattern: Pattern) -> Tensor:
    """(n,) block rows in SuperLU's multiple minimum degree order of the graph of blocks."""
    n = len(pattern.sizes)
    if n == 0:
        return torch.empty(0, dtype=torch.int64)
    i, j, off = pattern.rows.numpy(), pattern.columns.numpy(), (pattern.rows != pattern.columns).numpy()
    degree = np.bincount(i[off], minlength=n) + np.bincount(j[off], minlength=n)
    A = csc_matrix((np.concatenate([np.where(off, -1.0, 1.0 + degree[i]), -np.ones(off.sum())]),
                    (np.concatenate([i, j[off]]), np.concatenate([j, i[off]]))), shape=(n, n))
    return torch.from_numpy(_factorize(A, 'MMD_AT_PLUS_A').perm_c.astype(np.int64)).argsort()


def _factorize(A: csc_matrix, ordering: str):
    return splu(A, permc_spec=ordering, diag_pivot_thresh=0.0, options={'SymmetricMode': True, 'Equil': False})


class Cholesky:
    """The factor of one matrix after another."""

    def __init__(self, symbolic: Symbolic):
        self.symbolic, self.valid = symbolic, False
        self.factor: SuperLU = None     # of scipy, which has no types

    def factorize(self, values: Tensor, damping: float, shift: float) -> int:
        """-1, or the block without a positive pivot."""
        s, self.valid = self.symbolic, False
        if not s.pattern.dimension:
            self.valid = True
            return -1
        A = s.matrix.copy()
        A.data = values[s.source].numpy()
        diagonal = A.data[s.diagonal] * (1 + damping) + shift
        A.data[s.diagonal] = diagonal
        if not (diagonal > 0).all():
            return int(s.block[int(np.argmin(diagonal > 0))])
        pivots = self._pivots(A)
        if pivots is None or not (pivots > SMALLEST_PIVOT * np.abs(diagonal)).all():
            if pivots is None:      # lifted a little, so that the bad one shows among good ones
                A.data[s.diagonal] += 1e-9 * diagonal
                pivots = self._pivots(A)
            return int(s.block[0 if pivots is None else int(np.argmin(pivots / diagonal))])
        self.valid = True
        return -1

    def _pivots(self, A: csc_matrix) -> np.ndarray | None:
        """(dimension,) of the rows of A; None where there is no factor."""
        if not np.isfinite(A.data).all():
            return None
        try:
            self.factor = _factorize(A, 'NATURAL')
        except RuntimeError:        # exactly singular
            return None
        pivots = self.factor.U.diagonal()[self.factor.perm_c]
        return np.where(self.factor.perm_r == self.factor.perm_c, pivots, 0.0)

    def solve(self, B: Tensor) -> Tensor:
        """A^-1 B for B (..., dimension)."""
        n = self.symbolic.pattern.dimension
        if not self.valid:
            raise RuntimeError('there is no factor: factorize() has not succeeded')
        if B.dtype != torch.float64 or B.dim() < 1 or B.shape[-1] != n:
            raise RuntimeError(f'the right side must be float64 on the CPU with {n} entries in its last dimension; it '
                               f'is {B.dtype} {tuple(B.shape)}')
        X = torch.empty(B.shape, dtype=B.dtype)
        if X.numel():
            rows = self.symbolic.rows
            X.view(-1, n)[:, rows] = torch.from_numpy(self.factor.solve(B.reshape(-1, n)[:, rows].numpy().T)).mT
        return X

    def selected_inverse(self) -> Tensor:
        """(value_count,) A^-1 where A has blocks."""
        pattern = self.symbolic.pattern
        row, column = scalar_places(pattern)
        out = torch.empty(len(row), dtype=torch.float64)
        for first in range(0, pattern.dimension, COLUMNS_AT_ONCE):
            count = min(COLUMNS_AT_ONCE, pattern.dimension - first)
            unit = torch.zeros(count, pattern.dimension, dtype=torch.float64)
            unit[:, first:first + count] = torch.eye(count, dtype=torch.float64)
            some = (column >= first) & (column < first + count)
            out[some] = self.solve(unit)[column[some] - first, row[some]]
        return out


def cholesky_analyse(pattern: Pattern, order: Tensor | None) -> Symbolic:
    """An order of elimination, by default one of minimum degree."""
    return Symbolic(pattern, order)


def cholesky_order(symbolic: Symbolic) -> Tensor:
    """(n,) block rows in order of elimination."""
    return symbolic.order


def cholesky_statistics(symbolic: Symbolic) -> tuple[int, int, float, int]:
    """(fronts, entries of the factor, operations, rows of the largest front); each column is a front of its own."""
    A = symbolic.matrix.copy()      # with a diagonal that dominates: only its structure counts
    A.data = np.full(len(A.data), -1.0)
    A.data[symbolic.diagonal] = 1.0 + A.shape[0]
    counts = np.diff(_factorize(A, 'NATURAL').L.tocsc().indptr) if A.shape[0] else np.zeros(0, dtype=np.int64)
    return len(counts), int(counts.sum()), float((counts.astype(np.float64) ** 2).sum()), int(counts.max(initial=0))


def cholesky_create(symbolic: Symbolic) -> Cholesky:
    """Room for a factor."""
    return Cholesky(symbolic)


def cholesky_factorize(factor: Cholesky, values: Tensor, damping: float, shift: float) -> int:
    """Factorize A + damping diag(A) + shift I; -1, or the block without a positive pivot."""
    return factor.factorize(values, damping, shift)


def cholesky_solve_rows(factor: Cholesky, B: Tensor) -> Tensor:
    """X with A X = B, B (..., dimension)."""
    return factor.solve(B)


def cholesky_selected_inverse(factor: Cholesky) -> Tensor:
    """(value_count,) A^-1 where A has blocks."""
    return factor.selected_inverse()


class Schur(Cholesky):
    """The same factorization, with the eliminated blocks first in its order."""

    def __init__(self, pattern: Pattern, eliminated: Tensor):
        both = eliminated[pattern.rows] & eliminated[pattern.columns] & (pattern.rows != pattern.columns)
        if bool(both.any()):
            at = int(both.nonzero()[0])
            raise RuntimeError(f'blocks {int(pattern.rows[at])} and {int(pattern.columns[at])} are coupled: not both '
                               'can be eliminated')
        kept = ~eliminated
        super().__init__(Symbolic(pattern, torch.cat([eliminated.nonzero()[:, 0], kept.nonzero()[:, 0]])))
        self.reduced_dimension = int(pattern.sizes[kept].sum())
        self.eliminated = int(eliminated.sum())


def schur_create(pattern: Pattern, eliminated: Tensor) -> Schur:
    """Room for a factor whose `eliminated` (n,) blocks go first."""
    return Schur(pattern, eliminated)


def schur_factorize(factor: Schur, values: Tensor, damping: float, shift: float) -> int:
    """As `cholesky_factorize`."""
    return factor.factorize(values, damping, shift)


def schur_solve_rows(factor: Schur, B: Tensor) -> Tensor:
    """As `cholesky_solve_rows`."""
    return factor.solve(B)


def schur_statistics(factor: Schur) -> tuple[int, int]:
    """(scalar rows of the Schur complement, eliminated blocks)"""
    return factor.reduced_dimension, factor.eliminated
