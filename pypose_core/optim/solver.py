"""Linear solvers: A x = b for a batch of matrices A (..., m, n) and right sides b (..., m, 1).

Called as solver(A, b) they return x (..., n, 1) and raise where there is no solution.  The optimizers call
solve(A, b), which reads nothing back from the device: it returns x and, for each matrix, whether it holds.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Solver(nn.Module):
    """A linear solver. It defines solve()."""
    square = False
    """Whether A must be symmetric and positive definite; else least squares of any shape are solved."""

    def solve(self, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., n, 1) and whether it solves the system (...), for each matrix of the batch."""
        raise TypeError(f'{type(self).__name__} defines no solve(A, b)')

    def forward(self, A: Tensor, b: Tensor) -> Tensor:
        """x (..., n, 1).

        Raises:
            torch.linalg.LinAlgError: a matrix of the batch is singular (not positive definite).
        """
        x, solved = self.solve(A, b)
        if not bool(solved.all()):
            bad = torch.nonzero(~solved.reshape(-1)).reshape(-1).tolist()
            what = 'not positive definite' if self.square else 'singular or not finite'
            raise torch.linalg.LinAlgError(f'{type(self).__name__}: {len(bad)} of {solved.numel()} matrices '
                                           f'are {what}; the first has index {bad[0]}')
        return x


def _finite(x: Tensor) -> Tensor:
    return x.isfinite().flatten(-2).all(-1)


class PINV(Solver):
    """x = A⁺ b, the least-squares solution of least norm, by the singular value decomposition.

    Args:
        atol, rtol, hermitian: as of torch.linalg.pinv.
    """

    def __init__(self, atol: float | Tensor | None = None, rtol: float | Tensor | None = None,
                 hermitian: bool = False):
        super().__init__()
        self.atol, self.rtol, self.hermitian = atol, rtol, hermitian

    def solve(self, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        # The decomposition raises at the first entry that is not finite: it gets zeros for such a matrix.
        finite = _finite(A) & _finite(b)
        mask = finite[..., None, None]
        A, b = torch.where(mask, A, 0), torch.where(mask, b, 0)
        x = torch.linalg.pinv(A, atol=self.atol, rtol=self.rtol, hermitian=self.hermitian) @ b
        return x, finite & _finite(x)


class LSTSQ(Solver):
    """The least-squares solution by torch.linalg.lstsq: faster than PINV.

    Args:
        rcond, driver: as of torch.linalg.lstsq; on CUDA and with 'gels' A must be of full rank.
    """

    def __init__(self, rcond: float | None = None, driver: str | None = None):
        super().__init__()
        self.rcond, self.driver = rcond, driver

    def solve(self, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        finite = _finite(A) & _finite(b)
        mask = finite[..., None, None]
        A, b = torch.where(mask, A, 0), torch.where(mask, b, 0)
        x = torch.linalg.lstsq(A, b, rcond=self.rcond, driver=self.driver).solution
        return x, finite & _finite(x)


class Cholesky(Solver):
    """A = L Lᵀ and two triangular solves; A symmetric and positive definite.

    Args:
        upper: read the upper triangle of A, not the lower.
    """
    square = True

    def __init__(self, upper: bool = False):
        super().__init__()
        self.upper = upper

    def solve(self, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        L, info = torch.linalg.cholesky_ex(A, upper=self.upper)
        solved = info == 0
        # What is left in L of a failed factorization is no factor; the identity keeps the solve harmless.
        eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        x = torch.cholesky_solve(b, torch.where(solved[..., None, None], L, eye), upper=self.upper)
        return x, solved & _finite(x)


class CG(Solver):
    """Conjugate gradients, as scipy.sparse.linalg.cg; A dense (batched) or sparse, positive definite.

    Args:
        maxiter: iterations at most; 10 n by default.
        tol: norm of the residual at the end, relative to that of b.
    """
    square = True
    preconditioned = False

    def __init__(self, maxiter: int | None = None, tol: float = 1e-5):
        super().__init__()
        self.maxiter, self.tol = maxiter, tol

    def forward(self, A: Tensor, b: Tensor, x: Tensor | None = None, M: Tensor | None = None) -> Tensor:
        """x (..., n, 1), starting at `x` (zero by default), preconditioned with the matrix M ≈ A⁻¹.

        If it is not reached after maxiter iterations, the last iterate is returned, as in PyPose.
        """
        return self._iterate(A, b, x, None if M is None else lambda r: M @ r)[0]

    def solve(self, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self._iterate(A, b, None, None)

    def _iterate(self, A: Tensor, b: Tensor, x: Tensor | None,
                 precondition: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor]:
        if A.ndim == b.ndim + 1:
            b = b.unsqueeze(-1)
        elif A.ndim != b.ndim:
            raise ValueError(f'b must have as many dimensions as A or one less; A has {tuple(A.shape)}, '
                             f'b {tuple(b.shape)}')
        if precondition is None and self.preconditioned:
            precondition = jacobi(A)
        limit = 10 * b.shape[-2] if self.maxiter is None else self.maxiter
        # Reading back whether all have converged stops a GPU; there it is asked for seldom.
        period = 1 if b.device.type == 'cpu' else 10
        r = b.clone() if x is None else b - A @ x
        x = torch.zeros_like(b) if x is None else x.clone()
        bound = self.tol * torch.linalg.vector_norm(b, dim=-2, keepdim=True)
        p, rho = torch.zeros_like(b), torch.ones_like(bound)
        for iteration in range(limit):
            active = torch.linalg.vector_norm(r, dim=-2, keepdim=True) > bound
            if iteration % period == 0 and not bool(active.any()):
                break
            z = r if precondition is None else precondition(r)
            rho, last = (r * z).sum(-2, keepdim=True), rho
            p = z + (rho / last if iteration else 0) * p
            q = A @ p
            alpha = rho / (p * q).sum(-2, keepdim=True)
            # A system that has converged stands still: its quotients would become 0/0.
            step = torch.where(active, alpha, 0)
            x = x + torch.where(active, step * p, 0)
            r = r - torch.where(active, step * q, 0)
            rho = torch.where(active, rho, 1)
            p = torch.where(active, p, 0)
        return x, _finite(x)


class PCG(CG):
    """CG preconditioned with the diagonal of A, where forward() gets no other preconditioner."""
    preconditioned = True


def jacobi(A: Tensor) -> Callable[[Tensor], Tensor]:
    """The preconditioner that divides by the diagonal of A (dense or sparse); zeros of it count as ones."""
    if A.layout == torch.strided:
        diagonal = A.diagonal(dim1=-2, dim2=-1)
    else:
        entries = A.to_sparse_coo().coalesce()
        row, column = entries.indices()
        on = torch.where(row == column, entries.values(), 0)
        diagonal = torch.zeros(A.shape[-1], dtype=on.dtype, device=on.device).index_add(0, row, on)
    inverse = torch.where(diagonal == 0, 1, 1 / diagonal).unsqueeze(-1)
    return lambda r: inverse * r


def solve_with(solver: Callable, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """solve() of a Solver; of any other callable solver(A, b), with its failure as an exception or NaN."""
    if isinstance(solver, Solver):
        return solver.solve(A, b)
    try:
        x = solver(A, b)
    except (RuntimeError, AssertionError):
        shape = b.shape[:-2]
        nothing = torch.zeros(*shape, A.shape[-1], 1, dtype=b.dtype, device=b.device)
        return nothing, torch.zeros(shape, dtype=torch.bool, device=b.device)
    return x, _finite(x)
