"""The particle filter, in PyPose's form."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.filter.ekf import EKF


class PF(EKF):
    """A filter that carries the distribution through f and h by random particles.

    Args:
        model, Q, R: as in `EKF`; the model's functions must take leading dimensions.
        particles: their number.

    Each step draws particles from N(x, P), moves them by f and a draw of the noise, weighs them by the likelihood
    of the measurement, and returns the weighted mean and covariance. Batched; particles have the first dimension.

    Source: Simon, Optimal State Estimation, 2006, 15.2.
    """

    def __init__(self, model, Q: Tensor | None = None, R: Tensor | None = None, particles: int = 1000):
        super().__init__(model, Q, R)
        self.particles = particles

    def forward(self, x: Tensor, y: Tensor, u: Tensor, P: Tensor, Q: Tensor | None = None, R: Tensor | None = None,
                t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step; arguments and results as in EKF.forward()."""
        Q, R = self.Q if Q is None else Q, self.R if R is None else R
        t = self.model.systime if t is None else t
        u = torch.atleast_1d(u)
        points = self.model.state_transition(self.generate_particles(x, P), u, t)
        points = points + self.generate_particles(torch.zeros_like(x), Q)
        q = self.relative_likelihood(y, self.model.observation(points, u, t), R).unsqueeze(-1)
        mean = (q * points).sum(0)
        deviation = points - mean
        P = torch.einsum('p...i,p...j->...ij', q * deviation, deviation)
        return mean, (P + P.mT) / 2

    def generate_particles(self, x: Tensor, P: Tensor) -> Tensor:
        """Draws of N(x, P): (particles, ..., n). P may be singular."""
        values, vectors = torch.linalg.eigh((P + P.mT) / 2)
        root = vectors * values.clamp_min(0).sqrt().unsqueeze(-2)
        shape = torch.broadcast_shapes(x.shape[:-1], P.shape[:-2])
        z = torch.randn(self.particles, *shape, x.shape[-1], dtype=x.dtype, device=x.device)
        return x + (root @ z.unsqueeze(-1)).squeeze(-1)

    def relative_likelihood(self, y: Tensor, ye: Tensor, R: Tensor) -> Tensor:
        """N(y; ye, R) of each particle, scaled to sum to one: (..., k), (particles, ..., k) -> (particles, ...)."""
        L = torch.linalg.cholesky(R)
        e = torch.linalg.solve_triangular(L, (y - ye).unsqueeze(-1), upper=False).squeeze(-1)
        return torch.softmax(-0.5 * e.square().sum(-1), 0)

    def resample_particles(self, q: Tensor, x: Tensor) -> Tensor:
        """As many particles, drawn by their weights q (particles, ...), systematically, from x (particles, ..., n)."""
        n = len(q)
        edges = q.movedim(0, -1).cumsum(-1)
        offset = torch.rand(*q.shape[1:], 1, dtype=q.dtype, device=q.device)
        ticks = (torch.arange(n, dtype=q.dtype, device=q.device) + offset) / n * edges[..., -1:]
        chosen = torch.searchsorted(edges.contiguous(), ticks.contiguous()).clamp_max(n - 1).movedim(-1, 0)
        return x.gather(0, chosen.unsqueeze(-1).expand(x.shape))

    def compute_cov(self, a: Tensor, b: Tensor, Q: Tensor | float = 0) -> Tensor:
        """Mean of a bᵀ over the particles plus Q: (particles, ..., n), (particles, ..., k) -> (..., n, k)."""
        return torch.einsum('p...i,p...j->...ij', a, b) / len(a) + Q
