"""Block-sparse symmetric linear systems: a pattern analysed once, native solvers, Schur complement."""
from .block_sparse import BlockPattern, BlockSparseMatrix
from .cholesky import SparseCholesky
from .conjugate_gradients import CgResult, CgStatus, conjugate_gradients
from .cudss import CudssCholesky
from .factorization import Factorization, NotPositiveDefinite
from .schur import SchurCholesky

__all__ = ['BlockPattern', 'BlockSparseMatrix', 'CgResult', 'CgStatus', 'CudssCholesky', 'Factorization',
           'NotPositiveDefinite',
           'SchurCholesky', 'SparseCholesky', 'conjugate_gradients']
