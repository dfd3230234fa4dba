"""Sparse Cholesky factorization of block matrices.

The order of elimination and the supernodes are found once per pattern; each factorization then only assembles
and factorizes dense fronts, on one thread, in a native call that lets go of the GIL.
"""
from dataclasses import dataclass

from torch import Tensor

from .block_sparse import BlockPattern, BlockSparseMatrix
from .factorization import Factorization
from .operations import operations


@dataclass(frozen=True)
class FactorStatistics:
    """What a factorization of a pattern costs."""

    supernodes: int
    """Dense fronts."""
    factor_size: int
    """Entries of L, explicit zeros included."""
    operations: float
    """Multiplications of one numeric factorization."""
    largest_front: int
    """Scalar rows of the largest front."""


class SparseCholesky(Factorization):
    """P A P^T = L L^T for matrices of one pattern.

    Args:
        pattern: the pattern, analysed here once.
        order: (n,) block rows in order of elimination; by default approximate minimum degree.

    Source: Duff and Reid, "The multifrontal solution of indefinite sparse symmetric linear equations", ACM TOMS
    9, 1983; ordering after Amestoy, Davis and Duff, SIAM J. Matrix Anal. 17, 1996.
    """

    def __init__(self, pattern: BlockPattern, *, order: Tensor | None = None):
        self.pattern = pattern
        self._symbolic = operations.cholesky_analyse(pattern.handle, order)
        self._factor = operations.cholesky_create(self._symbolic)

    @property
    def order(self) -> Tensor:
        """(n,) block rows in order of elimination."""
        return operations.cholesky_order(self._symbolic)

    @property
    def statistics(self) -> FactorStatistics:
        """What one factorization costs."""
        return FactorStatistics(*operations.cholesky_statistics(self._symbolic))

    def _factorize(self, values: Tensor, damping: float, shift: float) -> int:
        return operations.cholesky_factorize(self._factor, values, damping, shift)

    def solve(self, b: Tensor) -> Tensor:
        """A^-1 b for right sides b (..., dimension)."""
        return operations.cholesky_solve_rows(self._factor, b.detach())

    def selected_inverse(self) -> BlockSparseMatrix:
        """A^-1 where A has blocks, without forming the rest (Takahashi's equations)."""
        return BlockSparseMatrix(self.pattern, operations.cholesky_selected_inverse(self._factor))
