"""What of the cuDSS path runs without a GPU: the layout of its matrix, and the error; with one, its solutions."""
import importlib.util

import pytest
import torch

from pypose_core.linalg import BlockPattern, CudssCholesky, NotPositiveDefinite
from pypose_core.linalg.csr import lower_csr

f64 = torch.float64
ready = torch.cuda.is_available() and importlib.util.find_spec('nvmath') is not None


def system():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 5, (12,), generator=generator)
    pattern = BlockPattern(sizes, torch.randint(0, 12, (20, 2), generator=generator))
    A = pattern.zeros()
    A.values[:] = torch.randn(len(A.values), generator=generator, dtype=f64)
    for i in range(12):
        block = A.block(i, i)
        block += 30 * torch.eye(len(block), dtype=f64)
    return pattern, A


def test_csr_of_the_lower_triangle_is_the_matrix():
    pattern, A = system()
    starts, columns, source = lower_csr(pattern)
    assert starts.dtype == columns.dtype == torch.int32
    lower = torch.zeros(pattern.dimension, pattern.dimension, dtype=f64)
    for row, (begin, end) in enumerate(zip(starts.tolist(), starts.tolist()[1:])):
        inside = columns[begin:end].tolist()
        assert inside == sorted(set(inside)) and inside[-1] == row       # ascending, the diagonal last
        lower[row, inside] = A.values[source[begin:end]]
    assert torch.equal(lower, A.to_dense().tril())


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_without_a_gpu_the_error_says_what_to_use():
    with pytest.raises(RuntimeError, match='SparseCholesky runs on the CPU'):
        CudssCholesky(system()[0])


@pytest.mark.skipif(not ready, reason='needs a GPU and nvmath-python')
def test_solutions_equal_the_dense_ones():
    pattern, A = system()
    solver, b = CudssCholesky(pattern), torch.randn(2, pattern.dimension, dtype=f64)
    for damping in (0.0, 0.5):
        dense = A.to_dense() + damping * torch.diag(A.to_dense().diagonal())
        torch.testing.assert_close(solver.factorize(A, damping=damping).solve(b), torch.linalg.solve(dense, b.mT).mT)
    A.block(3, 3)[0, 0] = -100
    with pytest.raises(NotPositiveDefinite):
        solver.factorize(A)
