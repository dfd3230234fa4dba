"""Geodesic interpolation and the mean of group elements."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.lie.group import LieGroup


def interpolate(X: LieGroup, Y: LieGroup, t: Tensor | float) -> LieGroup:
    """The point at fraction t of the geodesic from X to Y: X Exp(t Log(X⁻¹ Y)).

    Args:
        X, Y: elements of one group, broadcast against each other.
        t: a number, or a tensor that broadcasts to their leading shape; outside [0, 1] it extrapolates.

    SO3: spherical linear interpolation. SE3: a screw motion at constant twist.
    """
    fraction = t[..., None] if isinstance(t, Tensor) else t
    step = X.between(Y).Log()
    return X @ (step * fraction).Exp()


def mean(X: LieGroup, dim: int = 0, *, weights: Tensor | None = None, iterations: int = 30,
         tolerance: float | None = None) -> LieGroup:
    """The Riemannian (Karcher) mean along a leading dimension: the M with Σ w_i Log(X_i M⁻¹) = 0.

    Args:
        X: elements (..., n, ..., width); those of one mean lie closer together than half a turn.
        dim: the dimension of the n, not the last one.
        weights: (n,), positive; default equal.
        iterations: of the fixed point M ← Exp(Σ w_i Log(X_i M⁻¹)) M; it converges quadratically when near.
        tolerance: ends it when the step is smaller; default eps^(2/3) of the dtype. Gradients go through
            the iterations, of which the last one or two decide.

    Source: Pennec, Intrinsic statistics on Riemannian manifolds, 2006; on groups without invariant metric
    this is the bi-invariant exponential barycenter (Pennec and Arsigny, 2012).
    """
    if dim % X.dim() == X.dim() - 1:
        raise ValueError('dim must not be the last dimension, which is one element')
    n = X.shape[dim]
    if weights is None:
        weights = torch.full((n,), 1.0, dtype=X.dtype, device=X.device)
    shape = [1] * X.dim()
    shape[dim] = n
    weight = (weights / weights.sum()).view(shape)
    tolerance = torch.finfo(X.dtype).eps ** (2 / 3) if tolerance is None else tolerance
    M = X.narrow(dim, 0, 1)
    for _ in range(iterations):
        step = ((X @ M.Inv()).Log().tensor() * weight).sum(dim, keepdim=True)
        M = M + step
        if bool((step.detach().abs() < tolerance).all()):
            break
    return M.squeeze(dim)
