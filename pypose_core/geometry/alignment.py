"""The rotation, translation and scale that best lay one set of points over another."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.lie import so3
from pypose_core.lie.convert import mat2SO3
from pypose_core.lie.groups import SE3, Sim3


def _check(source: Tensor, target: Tensor) -> None:
    if source.shape[-1] != 3 or target.shape[-1] != 3 or source.shape[-2] != target.shape[-2]:
        raise ValueError(f'source and target must be (..., N, 3) with one N, got {tuple(source.shape)} and '
                         f'{tuple(target.shape)}')


def align(source: Tensor, target: Tensor, weights: Tensor | None = None, *,
          with_scale: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """min over proper rotations R, translations t (and scales s) of Σ w |y - s R x - t|².

    R is the rotation nearest to the centred cross-covariance M = Σ w y xᵀ; a reflection is undone in the direction of
    the least singular value, where it costs least.

    Args:
        source, target: x, y (..., N, 3).
        weights: (..., N), not negative; default equal.

    Returns:
        R (..., 3, 3), t (..., 3), s (...).

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    """
    if weights is None:
        mean_x, mean_y = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
        x, y, w = source - mean_x, target - mean_y, None
    else:
        w = weights / weights.sum(-1, keepdim=True)
        mean_x, mean_y = w.unsqueeze(-2) @ source, w.unsqueeze(-2) @ target
        x, y = source - mean_x, target - mean_y
    weighted = y / y.shape[-2] if w is None else y * w.unsqueeze(-1)
    M = weighted.mT @ x
    R = nearest_rotation(M)
    if with_scale:
        square = x.square().sum(-1)
        variance = square.mean(-1) if w is None else (w * square).sum(-1)
        s = (R * M).sum((-2, -1)) / variance
    else:
        s = torch.ones_like(M[..., 0, 0])
    t = mean_y.squeeze(-2) - s.unsqueeze(-1) * (R @ mean_x.mT).squeeze(-1)
    return R, t, s


def nearest_rotation(M: Tensor) -> Tensor:
    """The rotation R with the greatest tr(Rᵀ M): (..., 3, 3) -> (..., 3, 3).

    U diag(1, 1, det(U Vᵀ)) Vᵀ of the singular value decomposition. The derivative is that of the optimum,
    dR = R hat((tr(S) I - S)⁻¹ vee(Rᵀ dM - dMᵀ R)), S = Rᵀ M, which unlike the decomposition's is finite where
    singular values coincide.
    """
    with torch.no_grad():
        U, _, Vh = torch.linalg.svd(M)
        sign = torch.ones_like(M[..., 0])
        sign[..., 2] = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0)
        R = (U * sign.unsqueeze(-2)) @ Vh
    if not (torch.is_grad_enabled() and M.requires_grad):
        return R
    S = R.mT @ M
    fixed = S.detach()
    K = torch.diag_embed(fixed.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True).expand(M.shape[:-1])) - fixed
    skew = S - S.mT
    axis = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    turn = (torch.linalg.pinv((K + K.mT) / 2, hermitian=True) @ (axis - axis.detach()).unsqueeze(-1)).squeeze(-1)
    return R + R @ so3.hat(turn)


def svdtf(source: Tensor, target: Tensor) -> SE3:
    """The rigid transformation T with the least Σ |y - T x|².

    Args:
        source, target: x, y (..., N, 3).

    Returns:
        SE3 (..., 7). It is proper always, also for planar sets and their mirror images.
    """
    _check(source, target)
    R, t, _ = align(source, target)
    return SE3(torch.cat([t, mat2SO3(R, check=False).tensor()], -1))


def svdstf(source: Tensor, target: Tensor, with_scale: bool = True) -> Sim3:
    """The similarity transformation S with the least Σ |y - S x|².

    Args:
        source, target: x, y (..., N, 3).
        with_scale: without it the scale is one.

    Returns:
        Sim3 (..., 8).
    """
    _check(source, target)
    R, t, s = align(source, target, with_scale=with_scale)
    return Sim3(torch.cat([t, mat2SO3(R, check=False).tensor(), s.unsqueeze(-1)], -1))
