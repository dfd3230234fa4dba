"""Registration of point clouds by least squares: points, planes or distributions, robust, with a covariance."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pypose_core.geometry.icp import Matcher
from pypose_core.geometry.neighbors import knn, take
from pypose_core.lie import so3
from pypose_core.lie.groups import SE3, se3

METHODS = ('point', 'plane', 'gicp')


@dataclass(frozen=True)
class Registration:
    """The result of register()."""

    T_target_source: SE3
    """The transformation, (7,)."""
    covariance: Tensor
    """Of δ in Exp(δ) T, [ρ, φ] (6, 6), σ² H⁻¹ with σ² from the residuals."""
    converged: bool
    """Whether the last step was below the tolerance."""
    iterations: int
    """Gauss-Newton steps taken."""
    rmse: float
    """Root mean square of the weighted residuals, in the clouds' unit (of 'gicp': without unit)."""
    matched: int
    """Points with a match within max_distance."""
    degenerate: Tensor
    """Directions (k, 6) in which the clouds do not hold the transformation: eigenvectors of H without weight."""

    @property
    def status(self) -> str:
        """A sentence about the result."""
        if self.matched == 0:
            return 'no point has a match within max_distance'
        if len(self.degenerate):
            return f'the clouds leave {len(self.degenerate)} directions of the transformation free'
        return 'converged' if self.converged else f'not converged after {self.iterations} iterations'


def local_covariances(points: Tensor, k: int = 20) -> Tensor:
    """Covariance of each point's k nearest neighbours, itself included: (N, 3) -> (N, 3, 3)."""
    near = take(points, knn(points, points, min(k, len(points))).indices)
    near = near - near.mean(-2, keepdim=True)
    return near.mT @ near / near.shape[-2]


def normals(points: Tensor, k: int = 20) -> Tensor:
    """Unit normals of the surface through each point's k nearest neighbours, of either sign: (N, 3) -> (N, 3)."""
    return torch.linalg.eigh(local_covariances(points, k)).eigenvectors[..., 0]


def _planar_covariances(points: Tensor, k: int, epsilon: float = 1e-3) -> Tensor:
    """Local covariances with the eigenvalues 1, 1, ε: certain across the surface, not along it."""
    vectors = torch.linalg.eigh(local_covariances(points, k)).eigenvectors
    scale = torch.tensor([epsilon, 1.0, 1.0], dtype=points.dtype, device=points.device)
    return (vectors * scale) @ vectors.mT


def register(source: Tensor, target: Tensor, *, method: str = 'plane', init: SE3 | None = None,
             kernel: Callable[[Tensor], Tensor] | None = None, max_distance: float = torch.inf, neighbors: int = 20,
             iterations: int = 50, tolerance: float = 1e-8) -> Registration:
    """The rigid transformation that lays source over target, by Gauss-Newton with matches renewed at each step.

        'point'  Σ ρ(|T x - y|²)      'plane'  Σ ρ((n_y · (T x - y))²)
        'gicp'   Σ ρ(dᵀ (C_y + R C_x Rᵀ)⁻¹ d),  d = T x - y

    Args:
        source, target: x (N, 3), y (M, 3).
        init: start; default the identity.
        kernel: ρ of the squared residual, e.g. pp.optim.kernel.Huber(0.1); default none.
        max_distance: matches farther apart are left out.
        neighbors: number of points that a surface is fitted to.
        tolerance: ends when the step is below it, metres and radians.

    Source: Chen and Medioni, Object modelling by registration of multiple range images, 1992; Segal, Haehnel and
    Thrun, Generalized-ICP, RSS 2009; covariance: Censi, An accurate closed-form estimate of ICP's covariance, 2007.
    """
    if method not in METHODS:
        raise ValueError(f'method must be one of {", ".join(METHODS)}, not {method!r}')
    if source.dim() != 2 or target.dim() != 2 or len(source) == 0 or len(target) == 0:
        raise ValueError(f'two clouds (N, 3) are wanted, got {tuple(source.shape)} and {tuple(target.shape)}')
    with torch.no_grad():
        T = SE3(torch.tensor([0, 0, 0, 0, 0, 0, 1], dtype=source.dtype, device=source.device)) if init is None else init
        surface = normals(target, neighbors) if method == 'plane' else None
        shapes = ([_planar_covariances(z, neighbors) for z in (source, target)] if method == 'gicp' else None)
        matcher, converged, count = Matcher(target), False, 0
        for count in range(1, iterations + 1):     # noqa: B007
            moved = T.unsqueeze(-2) @ source
            index = matcher(moved)
            d = moved - target[index]
            keep = d.norm(dim=-1) <= max_distance
            whiten = _whitening(method, T, index, surface, shapes)
            r = d.unsqueeze(-1) if whiten is None else whiten @ d.unsqueeze(-1)
            # T x moves by ρ + φ × T x.
            J = torch.cat([torch.eye(3, dtype=d.dtype, device=d.device).expand(len(d), 3, 3), -so3.hat(moved)], -1)
            J = J if whiten is None else whiten @ J
            weight = keep.to(d.dtype) * _weights(kernel, r.square().sum((-2, -1)))
            H = torch.einsum('n,nri,nrj->ij', weight, J, J)
            g = torch.einsum('n,nri,nr->i', weight, J, r.squeeze(-1))
            held, basis = torch.linalg.eigh(H)
            good = held > 1e-9 * held[-1].clamp_min(1e-300)
            inverse = (basis[:, good] / held[good]) @ basis[:, good].mT
            step = -inverse @ g
            T = cast(SE3, se3(step).Exp() @ T)
            if bool(step.norm() < tolerance) or not bool(keep.any()):
                converged = bool(keep.any())
                break
        rows = r.shape[-2]
        used = float(weight.sum())
        square = float((weight * r.square().sum((-2, -1))).sum())
        variance = square / max(used * rows - 6, 1.0)
        return Registration(T, variance * inverse, converged, count, (square / max(used, 1e-300)) ** 0.5,
                            int(keep.sum()), basis[:, ~good].mT)


def _whitening(method: str, T: SE3, index: Tensor, surface: Any, shapes: Any) -> Tensor | None:
    """W (N, r, 3) with the residual W d; None for the identity."""
    if method == 'plane':
        return surface[index].unsqueeze(-2)
    if method == 'gicp':
        R = T.rotation().matrix()
        C = shapes[1][index] + R @ shapes[0] @ R.mT
        L = torch.linalg.cholesky(C)
        return torch.linalg.solve_triangular(L, torch.eye(3, dtype=C.dtype, device=C.device).expand_as(C), upper=False)
    return None


def _weights(kernel: Callable[[Tensor], Tensor] | None, squared: Tensor) -> Tensor:
    """ρ' of the squared residuals."""
    if kernel is None:
        return torch.ones_like(squared)
    with torch.enable_grad():
        s = squared.detach().requires_grad_()
        return torch.autograd.grad(kernel(s).sum(), s)[0]
