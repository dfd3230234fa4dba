"""Block systems whose landmarks are eliminated first, each by itself.

    [B   W] [x]   [b]        S x = b - W C^-1 c,   S = B - W C^-1 W',   y = C^-1 (c - W' x)
    [W'  C] [y] = [c]

C is block-diagonal: its blocks are coupled with those of B only.
"""
import torch
from torch import Tensor

from .block_sparse import BlockPattern
from .factorization import Factorization
from .operations import operations

LANDMARKS_PER_OTHER = 4     # fewer than that, and minimum degree orders no worse
LARGEST_COMPLEMENT = 8      # times the matrix, before memory would no longer grow with the factors


def worth_eliminating(pattern: BlockPattern, own: Tensor) -> bool:
    """Whether some blocks (n,) bool are worth eliminating by themselves: coupled only with others, many times as many
    as these, and what is left of the matrix not much larger than the matrix."""
    count = int(own.sum())
    if count < LANDMARKS_PER_OTHER * (len(own) - count) or count == len(own):
        return False
    lower = pattern.rows != pattern.columns
    i, j = pattern.rows[lower], pattern.columns[lower]
    if bool((own[i] & own[j]).any()):
        return False
    left = pattern.dimension - int(pattern.sizes[own].sum())
    degree = torch.zeros(len(own))
    for a, b in ((i, j), (j, i)):
        degree.index_add_(0, a, pattern.sizes[b].to(degree.dtype) * own[a])
    return min(float(left) ** 2, float(degree.square().sum())) <= LARGEST_COMPLEMENT * pattern.value_count


class SchurCholesky(Factorization):
    """The solver of a pattern in which some blocks are coupled with the others only; used like SparseCholesky.

    Args:
        pattern: the pattern, analysed here once.
        eliminated: (n,) bool; no two of these blocks are coupled.

    Raises:
        RuntimeError: two of them are coupled.

    Source: Triggs, McLauchlan, Hartley, Fitzgibbon, "Bundle adjustment - a modern synthesis", 2000, section 6.1.
    """

    def __init__(self, pattern: BlockPattern, eliminated: Tensor):
        self.pattern = pattern
        self._schur = operations.schur_create(pattern.handle, eliminated)

    @property
    def reduced_dimension(self) -> int:
        """Scalar rows of S."""
        return operations.schur_statistics(self._schur)[0]

    def _factorize(self, values: Tensor, damping: float, shift: float) -> int:
        return operations.schur_factorize(self._schur, values, damping, shift)

    def solve(self, b: Tensor) -> Tensor:
        """A^-1 b for right sides b (..., dimension)."""
        return operations.schur_solve_rows(self._schur, b.detach())
