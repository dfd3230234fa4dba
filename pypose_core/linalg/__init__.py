"""Block-sparse symmetric linear systems: a pattern analysed once, native factorization, conjugate gradients."""
from .block_sparse import BlockPattern, BlockSparseMatrix
from .cholesky import NotPositiveDefinite, SparseCholesky
from .conjugate_gradients import CgResult, CgStatus, conjugate_gradients

__all__ = ['BlockPattern', 'BlockSparseMatrix', 'CgResult', 'CgStatus', 'NotPositiveDefinite', 'SparseCholesky',
           'conjugate_gradients']
