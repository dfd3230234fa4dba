"""Linear solvers: batches, shapes, sparse matrices, and systems without solution."""
import pytest
import torch

import pypose_core as pp

solver = pp.optim.solver
SQUARE = [solver.Cholesky(), solver.Cholesky(upper=True), solver.CG(tol=1e-13), solver.PCG(tol=1e-13)]
ANY = [solver.PINV(), solver.LSTSQ(), solver.LSTSQ(driver='gels')]


def positive_definite(*batch, n=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(*batch, n, n, generator=generator, dtype=dtype)
    b = torch.randn(*batch, n, 1, generator=generator, dtype=dtype)
    return M @ M.mT + torch.eye(n, dtype=dtype), b


@pytest.mark.parametrize('solve', SQUARE + ANY, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize('batch', [(), (4,), (2, 3)])
def test_solves(solve, batch):
    A, b = positive_definite(*batch)
    torch.testing.assert_close(solve(A, b), torch.linalg.solve(A, b), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize('solve', ANY, ids=lambda s: type(s).__name__)
def test_least_squares_of_tall_systems(solve):
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(3, 8, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(3, 8, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(A.mT @ (A @ solve(A, b)), A.mT @ b, rtol=1e-9, atol=1e-11)


def test_least_norm_of_a_singular_system():
    A, b = torch.diag(torch.tensor([2.0, 0.0])), torch.tensor([[2.0], [0.0]])
    assert solver.PINV()(A, b).flatten().tolist() == [1, 0]


@pytest.mark.filterwarnings('ignore:Sparse CSR tensor support is in beta')
@pytest.mark.parametrize('layout', [torch.sparse_csr, torch.sparse_coo])
@pytest.mark.parametrize('cls', [solver.CG, solver.PCG])
def test_conjugate_gradients_take_sparse_matrices(cls, layout):
    A, b = positive_definite()
    sparse = A.to_sparse_csr() if layout == torch.sparse_csr else A.to_sparse()
    torch.testing.assert_close(cls(tol=1e-13)(sparse, b), torch.linalg.solve(A, b), rtol=1e-8, atol=1e-10)


def test_conjugate_gradients_start_and_precondition_as_told():
    A, b = positive_definite(2)
    x = torch.linalg.solve(A, b)
    start = x.clone()
    torch.testing.assert_close(solver.CG(maxiter=0)(A, b, x=start), x)
    torch.testing.assert_close(solver.CG(maxiter=1, tol=1e-12)(A, b, M=torch.linalg.inv(A)), x)
    assert (start == x).all()
    assert solver.CG()(A[0], b[0, :, 0]).shape == (6, 1)
    assert (solver.CG()(A, torch.zeros_like(b)) == 0).all()
    with pytest.raises(ValueError, match='dimensions'):
        solver.CG()(A, b[0, :, 0])


def test_pcg_needs_fewer_iterations_on_badly_scaled_systems():
    A, b = positive_definite(n=30)
    scale = torch.logspace(-3, 3, 30, dtype=torch.float64)
    A = scale[:, None] * A * scale
    x = torch.linalg.solve(A, b)
    error = [float((A @ cls(maxiter=60, tol=1e-12)(A, b) - b).norm()) for cls in (solver.CG, solver.PCG)]
    assert error[1] < 1e-6 < 1e-3 < error[0] and x.isfinite().all()


def test_a_system_without_solution_is_named():
    A, b = positive_definite(3)
    A[1] = -A[1]
    with pytest.raises(torch.linalg.LinAlgError, match='1 of 3 matrices are not positive definite; .* index 1'):
        solver.Cholesky()(A, b)
    x, solved = solver.Cholesky().solve(A, b)
    assert solved.tolist() == [True, False, True] and x.isfinite().all()
    torch.testing.assert_close(x[0], torch.linalg.solve(A[0], b[0]))
    A[1] = float('nan')
    for solve in (solver.PINV(), solver.LSTSQ(), solver.Cholesky()):
        assert solve.solve(A, b)[1].tolist() == [True, False, True]


def test_any_callable_is_a_solver():
    A, b = positive_definite(2)
    x, solved = solver.solve_with(torch.linalg.solve, A, b)
    assert solved.all() and torch.equal(x, torch.linalg.solve(A, b))
    A[0] = 0
    x, solved = solver.solve_with(torch.linalg.solve, A, b)
    assert not solved.any() and x.shape == b.shape
