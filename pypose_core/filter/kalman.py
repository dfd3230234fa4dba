"""The Kalman filter's step, on plain tensors."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.lie.linalg import bmv

_transform = torch._C._functorch.peek_interpreter_stack
_operator: Any = torch.ops.pypose.kalman_step if native.available else None


def kalman_step(prior: Tensor, A: Tensor, P: Tensor, Q: Tensor, C: Tensor, R: Tensor,
                innovation: Tensor) -> tuple[Tensor, Tensor]:
    """Predict the covariance and take in one measurement.

        P⁻ = A P Aᵀ + Q,  S = C P⁻ Cᵀ + R,  K = P⁻ Cᵀ S⁻¹,
        x⁺ = x⁻ + K e,  P⁺ = (I - K C) P⁻ (I - K C)ᵀ + K R Kᵀ

    The last is Joseph's form, which stays symmetric and positive definite.

    Args:
        prior: x⁻ (..., n), the predicted state.
        A, P, Q: (..., n, n); C: (..., k, n); R: (..., k, k).
        innovation: e = y - h(x⁻) (..., k).

    Returns:
        x⁺ (..., n), P⁺ (..., n, n).

    Source: Simon, Optimal State Estimation, 2006, 5.1 and 13.2.
    """
    tensors = (prior, A, P, Q, C, R, innovation)
    if (native.available and prior.device.type == 'cpu' and prior.dtype in (torch.float32, torch.float64)
            and not (torch.is_grad_enabled() and any(z.requires_grad for z in tensors)) and _transform() is None):
        return _native(*tensors)
    P = A @ P @ A.mT + Q
    x, P, _ = correct(prior, P, C, R, innovation)
    return x, P


def correct(prior: Tensor, P: Tensor, C: Tensor, R: Tensor, innovation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The measurement alone: x⁺, P⁺ and the gain K (..., n, k)."""
    K = gain(P @ C.mT, C @ P @ C.mT + R)
    J = torch.eye(P.shape[-1], dtype=P.dtype, device=P.device) - K @ C
    P = J @ P @ J.mT + K @ R @ K.mT
    return prior + bmv(K, innovation), (P + P.mT) / 2, K


def gain(cross: Tensor, S: Tensor) -> Tensor:
    """K with K S = cross for a symmetric positive definite S."""
    L = torch.linalg.cholesky((S + S.mT) / 2)
    return torch.cholesky_solve(cross.mT, L).mT


def squared(e: Tensor, S: Tensor) -> Tensor:
    """eᵀ S⁻¹ e (...,) of an innovation e (..., k) with covariance S: χ² with k degrees of freedom if all is right."""
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(S), e.unsqueeze(-1), upper=False)
    return z.square().sum((-2, -1))


def _native(prior, A, P, Q, C, R, innovation) -> tuple[Tensor, Tensor]:
    if prior.dim() == 1 and A.dim() == P.dim() == Q.dim() == C.dim() == R.dim() == 2 and innovation.dim() == 1:
        return _operator(prior, A, P, Q, C, R, innovation)
    batch = torch.broadcast_shapes(prior.shape[:-1], innovation.shape[:-1], *(z.shape[:-2] for z in (A, P, Q, C, R)))
    vectors = (z.expand(*batch, z.shape[-1]).reshape(-1, z.shape[-1]) for z in (prior, innovation))
    flat_prior, flat_innovation = vectors
    flat = (z if z.dim() == 2 else z.expand(*batch, *z.shape[-2:]).reshape(-1, *z.shape[-2:]) for z in (A, P, Q, C, R))
    x, P = _operator(flat_prior, *flat, flat_innovation)
    return x.view(*batch, -1), P.view(*batch, *P.shape[-2:])
