"""Sparse Cholesky factorization on a GPU, by NVIDIA's cuDSS through nvmath-python."""
import torch
from torch import Tensor

from .block_sparse import BlockPattern, BlockSparseMatrix
from .cholesky import SparseCholesky
from .csr import lower_csr
from .factorization import Factorization


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
