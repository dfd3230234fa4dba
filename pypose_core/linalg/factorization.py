"""What the direct solvers of one block pattern share."""
from abc import ABC, abstractmethod

from torch import Tensor

from .block_sparse import BlockPattern, BlockSparseMatrix


class NotPositiveDefinite(ValueError):
    """The matrix has no Cholesky factor; `block` is the block row at which that showed."""

    def __init__(self, block: int, name: str = ''):
        super().__init__(f'the matrix is not positive definite: {name or f"block row {block}"} has no positive pivot')
        self.block = block


class Factorization(ABC):
    """A solver of A x = b for symmetric positive definite matrices of one pattern, analysed once."""

    pattern: BlockPattern
    factorized: bool = False
    """Whether there is a factor to solve with."""

    def try_factorize(self, matrix: BlockSparseMatrix, *, damping: float = 0.0, shift: float = 0.0) -> int:
        """Factorize A + damping diag(A) + shift I; returns -1, or the block row without a positive pivot."""
        if matrix.pattern is not self.pattern:
            raise ValueError('the matrix has another pattern than this factorization')
        failed = self._factorize(matrix.values.detach(), damping, shift)
        self.factorized = failed < 0
        return failed

    def factorize(self, matrix: BlockSparseMatrix, *, damping: float = 0.0, shift: float = 0.0) -> 'Factorization':
        """As `try_factorize`.

        Raises:
            NotPositiveDefinite: no such factor exists; names the block row.
        """
        failed = self.try_factorize(matrix, damping=damping, shift=shift)
        if failed >= 0:
            raise NotPositiveDefinite(failed)
        return self

    @abstractmethod
    def _factorize(self, values: Tensor, damping: float, shift: float) -> int:
        """As `try_factorize`, of the pattern's values."""

    @abstractmethod
    def solve(self, b: Tensor) -> Tensor:
        """A^-1 b for right sides b (..., dimension)."""
