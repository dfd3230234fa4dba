"""Sparse Cholesky factorization on a GPU, by NVIDIA's cuDSS through nvmath-python."""
import torch
from torch import Tensor

from .block_sparse import BlockPattern, BlockSparseMatrix
from .cholesky import SparseCholesky
from .factorization import Factorization


def lower_csr(pattern: BlockPattern) -> tuple[Tensor, Tensor, Tensor]:
    """The scalar lower triangle of a pattern, row by row.

    Returns:
        (dimension + 1,) int32 where each row starts, (nnz,) int32 columns, ascending in each row, and (nnz,) int64
        which of the pattern's values each entry is.
    """
    height, width = pattern.sizes[pattern.rows], pattern.sizes[pattern.columns]
    area = height * width
    block = torch.repeat_interleave(torch.arange(len(area)), area)
    within = torch.arange(int(area.sum())) - torch.repeat_interleave(area.cumsum(0) - area, area)
    row = pattern.starts[pattern.rows][block] + within // width[block]
    column = pattern.starts[pattern.columns][block] + within % width[block]
    lower = column <= row
    row, column, source = row[lower], column[lower], (pattern.begin[:-1][block] + within)[lower]
    order = (row * pattern.dimension + column).argsort()
    counts = torch.bincount(row, minlength=pattern.dimension)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return starts.to(torch.int32), column[order].to(torch.int32), source[order]


class CudssCholesky(Factorization):
    """Factorizations of matrices of one pattern on a GPU; used like SparseCholesky, and takes its place in a graph:

        problem = graph.problem()
        problem.solver = CudssCholesky(problem.pattern)

    Order and structure are found once. Values travel to the device with each factorization, solutions back. There is no
    selected inverse here: covariances come from SparseCholesky.

    Args:
        pattern: the pattern, analysed here once.
        device: of CUDA.

    Raises:
        RuntimeError: torch has no such device, or nvmath-python is missing; the message says what to install.

    Source: cuDSS, https://docs.nvidia.com/cuda/cudss.
    """

    def __init__(self, pattern: BlockPattern, *, device: str = 'cuda'):
        if not torch.cuda.is_available():
            raise RuntimeError('cuDSS needs a CUDA device, and torch sees none; SparseCholesky runs on the CPU')
        try:
            from nvmath.sparse import advanced
        except ImportError as error:
            raise RuntimeError(f'cuDSS needs nvmath-python ({error}): pip install "nvmath-python[cu12]" or "[cu13]", '
                               f'as your torch (CUDA {torch.version.cuda})') from error
        self.pattern = pattern
        starts, columns, source = lower_csr(pattern)
        self._source = source.to(device)
        diagonal = columns == torch.repeat_interleave(torch.arange(pattern.dimension, dtype=torch.int32), starts.diff())
        self._diagonal = diagonal.nonzero()[:, 0].to(device)
        # Planned with a matrix that has a factor; the operands stay, and get new numbers in place.
        self._matrix = torch.sparse_csr_tensor(starts.to(device), columns.to(device),
                                               diagonal.to(device=device, dtype=torch.float64),
                                               size=(pattern.dimension, pattern.dimension))
        self._right = torch.zeros(pattern.dimension, dtype=torch.float64, device=device)
        options = advanced.DirectSolverOptions(sparse_system_type=advanced.DirectSolverMatrixType.SPD,
                                               sparse_system_view=advanced.DirectSolverMatrixViewType.LOWER)
        self._solver = advanced.DirectSolver(self._matrix, self._right, options=options)
        self._solver.plan()

    def _factorize(self, values: Tensor, damping: float, shift: float) -> int:
        # That there is no factor comes from cuDSS; at which block row, from a factorization on the CPU.
        A = BlockSparseMatrix(self.pattern, values)
        values = values.to(self._source.device)[self._source]
        diagonal = values[self._diagonal]
        values[self._diagonal] = diagonal + damping * diagonal + shift
        self._matrix.values().copy_(values)
        information = self._solver.factorize()
        # a pivot that was too small is perturbed and counted
        if information.info == 0 and information.npivots == 0:
            return -1
        return max(SparseCholesky(self.pattern).try_factorize(A, damping=damping, shift=shift), 0)

    def solve(self, b: Tensor) -> Tensor:
        """A^-1 b for right sides b (..., dimension), on the device of b."""
        if not self.factorized:
            raise RuntimeError('there is no factor: factorize() has not succeeded')
        rows = b.detach().reshape(-1, self.pattern.dimension)
        out = torch.empty_like(rows)
        for k, row in enumerate(rows):
            self._right.copy_(row)
            out[k] = self._solver.solve()
        return out.view(b.shape)
