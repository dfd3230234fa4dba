"""The unscented Kalman filter, in PyPose's form."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core.filter.ekf import EKF
from pypose_core.filter.kalman import gain
from pypose_core.lie.linalg import bmv


class UKF(EKF):
    """The Kalman filter with means and covariances through f and h taken from 2n + 1 sigma points.

    Args:
        model, Q, R: as in `EKF`; the model's functions must take leading dimensions.
        msqrt: a function that returns M with M Mᵀ = P; default the Cholesky factor.

    Source: Simon, Optimal State Estimation, 2006, 14.3.
    """

    def __init__(self, model, Q: Tensor | None = None, R: Tensor | None = None,
                 msqrt: Callable[[Tensor], Tensor] | None = None):
        super().__init__(model, Q, R)
        self.msqrt = torch.linalg.cholesky if msqrt is None else msqrt

    def forward(self, x: Tensor, y: Tensor, u: Tensor, P: Tensor, Q: Tensor | None = None, R: Tensor | None = None,
                t: Tensor | None = None, k: int | float | None = None) -> tuple[Tensor, Tensor]:
        """One step; arguments and results as in EKF.forward().

        Args:
            k: κ > -n, the spread of the sigma points; default 3 - n, which is right to fourth order for Gaussians.
        """
        k = 3 - x.shape[-1] if k is None else k
        Q, R = self.Q if Q is None else Q, self.R if R is None else R
        t = self.model.systime if t is None else t
        u = torch.atleast_1d(u)
        u = u.unsqueeze(-2) if u.dim() > 1 else u    # the same for all sigma points

        points, w = self.sigma_weight_points(x, P, k)
        moved = self.model.state_transition(points, u, t)
        prior = (w * moved).sum(-2)
        deviation = moved - prior.unsqueeze(-2)
        P = self.compute_cov(deviation, deviation, w, Q)

        # New points: the noise has widened the distribution.
        points, w = self.sigma_weight_points(prior, P, k)
        seen = self.model.observation(points, u, t)
        expected = (w * seen).sum(-2)
        deviation, of_seen = points - prior.unsqueeze(-2), seen - expected.unsqueeze(-2)
        S = self.compute_cov(of_seen, of_seen, w, R)
        K = gain(self.compute_cov(deviation, of_seen, w), S)
        P = P - K @ S @ K.mT
        return prior + bmv(K, y - expected), (P + P.mT) / 2

    def sigma_weight_points(self, x: Tensor, P: Tensor, k: int | float) -> tuple[Tensor, Tensor]:
        """x and x ± the columns of sqrt((n + κ) P): points (..., 2n+1, n) and weights (..., 2n+1, 1)."""
        n = x.shape[-1]
        if P.shape[-2:] != (n, n):
            raise ValueError(f'the covariance must be (..., {n}, {n}), got {tuple(P.shape)}')
        if n + k <= 0:
            raise ValueError(f'k must be above -{n}, got {k}')
        columns = self.msqrt((n + k) * P).mT
        center = x.unsqueeze(-2)
        points = torch.cat([center.expand(*columns.shape[:-2], 1, n), center + columns, center - columns], -2)
        w = torch.full((2 * n + 1, 1), 1 / (2 * (n + k)), dtype=x.dtype, device=x.device)
        w[0] = k / (n + k)
        return points, w.expand(*points.shape[:-1], 1)

    def compute_cov(self, a: Tensor, b: Tensor, w: Tensor, Q: Tensor | float = 0) -> Tensor:
        """Σ w a bᵀ + Q over the points: (..., p, n), (..., p, k), (..., p, 1) -> (..., n, k)."""
        return (w * a).mT @ b + Q
