"""Quadratic programs with dense matrices, in batches, with gradients by every argument.

    x* = argmin ½ xᵀ P x + qᵀ x   subject to   G x ≤ h,  A x = b

The gradient differentiates the KKT conditions at the solution, with each inequality an equation or absent, as its
multiplier exceeds its slack or not. The interior point runs to a complementarity of 1e-12, at which the two differ by
orders of magnitude unless the program is degenerate; there the gradient is that of one side.

Source: Amos and Kolter, "OptNet: differentiable optimization as a layer in neural networks" (2017), equations 6 to 8.
"""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from pypose_core import native


class QpStatus(Enum):
    """Why the interior point ended; the value is a sentence."""

    SOLVED = 'solved to tolerance'
    ITERATIONS = 'stopped: the maximum number of iterations is reached'
    INFEASIBLE = 'infeasible: a combination of the constraints contradicts itself'
    UNBOUNDED = 'unbounded: the objective falls without end'
    NOT_CONVEX = 'stopped: P is not positive semidefinite, or the rows of A depend on each other'
    NOT_FINITE = 'stopped: an argument is not finite; leave out rows without a bound'

    def __str__(self) -> str:
        return self.value


STATUSES = tuple(QpStatus)


@dataclass(frozen=True)
class QpResult:
    """A solution or a batch of them."""

    x: Tensor
    """(..., n), with gradients."""
    inequality: Tensor
    """Multipliers λ ≥ 0 of G x ≤ h (..., m), without gradients. Where the program is infeasible, the rows that
    contradict each other are those whose multipliers are large."""
    equality: Tensor
    """Multipliers of A x = b (..., p), without gradients."""
    codes: Tensor
    """(..., 2): status and iterations."""

    @property
    def status(self) -> QpStatus | list[QpStatus]:
        if self.codes.ndim == 1:
            return STATUSES[int(self.codes[0])]
        return [STATUSES[code] for code in self.codes[:, 0].tolist()]

    @property
    def solved(self) -> bool:
        """Whether all of the batch is."""
        return bool((self.codes[..., 0] == 0).all())

    @property
    def iterations(self) -> int:
        """The most that one of the batch took."""
        return int(self.codes[..., 1].max()) if self.codes.numel() else 0


class _Layer(torch.autograd.Function):

    @staticmethod
    def forward(ctx, P, q, G, h, A, b, batch, tolerance, max_iterations):
        x, s, lam, nu, codes = torch.ops.pypose.qp_solve(P, q, G, h, A, b, batch, tolerance, max_iterations)
        ctx.save_for_backward(P, G, A, x, s, lam, nu)
        ctx.mark_non_differentiable(lam, nu, codes)
        ctx.shapes = [t.shape for t in (P, q, G, h, A, b)]
        return x, lam, nu, codes

    @staticmethod
    def backward(ctx, slope, *_):
        P, G, A, x, s, lam, nu = ctx.saved_tensors
        w, dlam, dnu, ok = torch.ops.pypose.qp_sensitivity(P, G, A, s, lam, slope.contiguous())
        if not bool(ok.all()):
            raise torch.linalg.LinAlgError('the solution is not unique, so it has no gradient')

        def outer(a, b):
            return a.unsqueeze(-1) * b.unsqueeze(-2)
        needed, grads = ctx.needs_input_grad, [None] * 6
        if needed[0]:
            wx = outer(w, x)
            grads[0] = 0.5 * (wx + wx.mT)
        grads[1] = w
        if needed[2]:
            grads[2] = outer(dlam, x) + outer(lam, w)
        grads[3] = -dlam
        if needed[4]:
            grads[4] = outer(dnu, x) + outer(nu, w)
        grads[5] = -dnu
        grads = [None if g is None or not need else g.sum(0, keepdim=True) if shape[0] == 1 and len(g) > 1 else g
                 for g, need, shape in zip(grads, needed, ctx.shapes)]
        return *grads, None, None, None


def solve_qp(P: Tensor, q: Tensor, G: Tensor | None = None, h: Tensor | None = None, A: Tensor | None = None,
             b: Tensor | None = None, *, tolerance: float = 1e-12, max_iterations: int = 60) -> QpResult:
    """The minimizer of ½ xᵀPx + qᵀx under G x ≤ h and A x = b, differentiable by all of them.

    Args:
        P: (..., n, n) positive semidefinite; q: (..., n).
        G: (..., m, n); h: (..., m). A: (..., p, n); b: (..., p). Either pair may be left out.
            At most one leading dimension, the batch; arguments without it are shared.
        tolerance: of the residuals relative to q and h, and of the mean complementarity.
        max_iterations: of the interior point.

    Returns:
        QpResult. A status other than SOLVED comes with the last iterate.

    Raises:
        ValueError: shapes that do not fit.
        torch.linalg.LinAlgError: in backward, where the solution is not unique.
    """
    if not native.available:
        raise RuntimeError(f'quadratic programs need the native kernels: {native.status}')
    if (G is None) != (h is None) or (A is None) != (b is None):
        raise ValueError('G and h are given together, and so are A and b')
    n = q.shape[-1]
    if G is None or h is None:
        G, h = q.new_zeros(0, n), q.new_zeros(0)
    if A is None or b is None:
        A, b = q.new_zeros(0, n), q.new_zeros(0)
    given = {'P': (P, (n, n)), 'q': (q, (n,)), 'G': (G, (h.shape[-1], n)), 'h': (h, h.shape[-1:]),
             'A': (A, (b.shape[-1], n)), 'b': (b, b.shape[-1:])}
    batches = set()
    for name, (t, shape) in given.items():
        extra = t.ndim - len(shape)
        if extra not in (0, 1) or t.shape[extra:] != torch.Size(shape):
            raise ValueError(f'{name} has shape {tuple(t.shape)}; {tuple(shape)} with at most a batch before it '
                             f'is needed')
        if extra:
            batches.add(len(t))
    if len(batches - {1}) > 1:
        raise ValueError(f'the arguments have batches of {sorted(batches)}')
    batch = max(batches, default=1)
    packed = [(t if t.ndim > len(shape) else t.unsqueeze(0)).to(torch.float64) for t, shape in given.values()]
    x, lam, nu, codes = _Layer.apply(*packed, batch, tolerance, max_iterations)
    x = x.to(q.dtype)
    if not batches:
        x, lam, nu, codes = x[0], lam[0], nu[0], codes[0]
    return QpResult(x, lam, nu, codes)
