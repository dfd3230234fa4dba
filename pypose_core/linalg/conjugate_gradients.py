"""Conjugate gradients, preconditioned by the diagonal blocks."""
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from .block_sparse import BlockSparseMatrix
from .operations import operations


class CgStatus(Enum):
    """How an iterative solve ended; the value is a sentence."""

    CONVERGED = 'the residual is below the tolerance'
    ITERATION_LIMIT = 'the iteration limit was reached before the tolerance'
    INDEFINITE = 'the matrix is not positive definite along a search direction'
    BLOCK_NOT_POSITIVE_DEFINITE = 'a diagonal block is not positive definite'


@dataclass(frozen=True)
class CgResult:
    """Result of `conjugate_gradients`."""

    value: Tensor
    """(dimension,) the solution; the last iterate where the status is not CONVERGED."""
    status: CgStatus
    iterations: int
    residual: float
    """|b - A x| / |b|."""
    failed_block: int | None
    """The block row whose diagonal block is not positive definite, if that is the status."""


def conjugate_gradients(matrix: BlockSparseMatrix, b: Tensor, *, x0: Tensor | None = None,
                        tolerance: float = 1e-8, max_iterations: int = 1000) -> CgResult:
    """Solve A x = b with A symmetric positive definite, preconditioned by the inverses of its diagonal blocks.

    Args:
        matrix: A.
        b: (dimension,) right side.
        x0: (dimension,) start; 0 by default.
        tolerance: of |b - A x| / |b|.
        max_iterations: limit.

    Source: Saad, Iterative Methods for Sparse Linear Systems, algorithm 9.1.
    """
    x, iterations, residual, failed, indefinite = operations.block_conjugate_gradients(
        matrix.pattern.handle, matrix.values, b, torch.zeros_like(b) if x0 is None else x0, tolerance, max_iterations)
    if failed >= 0:
        status = CgStatus.BLOCK_NOT_POSITIVE_DEFINITE
    elif indefinite:
        status = CgStatus.INDEFINITE
    else:
        status = CgStatus.CONVERGED if residual <= tolerance else CgStatus.ITERATION_LIMIT
    return CgResult(x, status, iterations, residual, failed if failed >= 0 else None)
