"""Gaussians on groups: X = Exp(ξ) X̄ with ξ ~ N(0, P), the uncertainty in the left tangent at the mean.

To first order in P, which is the usual error-state (invariant) filter's propagation.  Source: Barfoot and
Furgale, Associating uncertainty with three-dimensional poses, 2014.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.lie.group import LieGroup


@dataclass(frozen=True)
class Gaussian:
    """A random element Exp(ξ) mean, ξ ~ N(0, covariance)."""
    mean: LieGroup
    """Elements (..., width)."""
    covariance: Tensor
    """Of the left perturbation ξ, (..., dof, dof), in the order of the algebra's coordinates."""

    def __post_init__(self):
        dof = self.mean.ltype.manifold[0]
        if self.covariance.shape[-2:] != (dof, dof):
            raise ValueError(f'the covariance of {self.mean.ltype.name} must be {dof}x{dof} in its last two '
                             f'dimensions, but the shape is {tuple(self.covariance.shape)}')

    def compose(self, other: Gaussian) -> Gaussian:
        """The product self ∘ other of independent elements: P₁ + Ad(X̄₁) P₂ Ad(X̄₁)ᵀ."""
        Ad = self.mean.adjoint()
        return Gaussian(self.mean @ other.mean, self.covariance + Ad @ other.covariance @ Ad.mT)

    def invert(self) -> Gaussian:
        """The inverse element: Ad(X̄⁻¹) P Ad(X̄⁻¹)ᵀ."""
        inverse = self.mean.Inv()
        Ad = inverse.adjoint()
        return Gaussian(inverse, Ad @ self.covariance @ Ad.mT)

    def between(self, other: Gaussian) -> Gaussian:
        """self⁻¹ ∘ other of independent elements."""
        return self.invert().compose(other)

    def propagate(self, twist: Tensor, noise: Tensor) -> Gaussian:
        """A motion by a twist in the element's own frame, X Exp(u + w), w ~ N(0, noise) of the twist.

        P + Ad(X̄) J_l(u) noise J_l(u)ᵀ Ad(X̄)ᵀ, as Exp(u + w) = Exp(J_l(u) w) Exp(u) to first order.
        """
        u = self.mean.algebra(twist)
        J = self.mean.adjoint() @ u.Jl()
        return Gaussian(self.mean @ u.Exp(), self.covariance + J @ noise @ J.mT)

    def act(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Transformed points (..., n) and their covariances (..., n, n), of exact points."""
        moved = self.mean @ points
        def where(delta: Tensor) -> Tensor:
            return self.mean.algebra(delta).Exp() @ moved
        zero = torch.zeros(self.mean.ltype.manifold, dtype=moved.dtype, device=moved.device)
        J = torch.func.jacfwd(where)(zero)
        return moved, J @ self.covariance @ J.mT

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> LieGroup:
        """n draws, in a new first dimension."""
        L = torch.linalg.cholesky(self.covariance)
        z = torch.randn((n,) + L.shape[:-1], dtype=L.dtype, device=L.device, generator=generator)
        return self.mean.Retr((L @ z[..., None]).squeeze(-1))

    def mahalanobis(self, X: LieGroup) -> Tensor:
        """Squared Mahalanobis distance of elements X: ξᵀ P⁻¹ ξ, ξ = Log(X X̄⁻¹)."""
        xi = (X @ self.mean.Inv()).Log().tensor()
        return (xi * torch.linalg.solve(self.covariance, xi[..., None]).squeeze(-1)).sum(-1)
