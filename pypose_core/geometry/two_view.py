"""The relative pose of two cameras from matched rays."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.geometry.homogeneous import cart2homo
from pypose_core.lie import so3
from pypose_core.lie.convert import mat2SO3
from pypose_core.lie.groups import SE3


def essential_matrix(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """The eight-point algorithm: E with b̃ᵀ E ã = 0, singular values 1, 1, 0.

    Args:
        a, b: (..., N, 2), N >= 8, on the planes z = 1 of the first and second camera.
        weights: (..., N); default equal.

    Source: Hartley, In defense of the eight-point algorithm, PAMI 1997.
    """
    if a.shape[-2] < 8 or a.shape != b.shape:
        raise ValueError(f'eight matches or more are wanted, got {tuple(a.shape)} and {tuple(b.shape)}')
    (x, Ta), (y, Tb) = _conditioned(a), _conditioned(b)
    rows = (y.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
    if weights is not None:
        rows = rows * weights.sqrt().unsqueeze(-1)
    E = torch.linalg.eigh(rows.mT @ rows).eigenvectors[..., 0].unflatten(-1, (3, 3))
    U, _, Vh = torch.linalg.svd(Tb.mT @ E @ Ta)
    return U[..., :2] @ Vh[..., :2, :]


def _conditioned(p: Tensor) -> tuple[Tensor, Tensor]:
    """Homogeneous points with zero mean and mean distance √2, and the matrix that makes them so."""
    mean = p.mean(-2, keepdim=True)
    scale = 2 ** 0.5 / (p - mean).norm(dim=-1).mean(-1).clamp_min(1e-12)
    T = torch.diag_embed(torch.stack([scale, scale, torch.ones_like(scale)], -1))
    T[..., :2, 2] = -scale.unsqueeze(-1) * mean.squeeze(-2)
    return cart2homo(p) @ T.mT, T


def sampson(E: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Signed distance of matches from the epipolar constraint to first order, on the planes z = 1: (..., N)."""
    x, y = cart2homo(a), cart2homo(b)
    Ex, Ey = x @ E.mT, y @ E
    square = Ex[..., :2].square().sum(-1) + Ey[..., :2].square().sum(-1)
    return (y * Ex).sum(-1) / square.clamp_min(1e-24).sqrt()


def relative_pose(a: Tensor, b: Tensor, weights: Tensor | None = None, *, iterations: int = 10) -> SE3:
    """T_b_a with a translation of unit length, from matches.

    The eight-point solution with most points before both cameras, then Gauss-Newton steps on Sampson's distance in
    the five dimensions that matches determine.

    Args:
        a, b: (..., N, 2), N >= 8, on the planes z = 1.
        weights: (..., N); default equal.
        iterations: Gauss-Newton steps.

    Returns:
        SE3 (..., 7).
    """
    E = essential_matrix(a, b, weights)
    U, _, Vh = torch.linalg.svd(E)
    U = U * torch.linalg.det(U).sign()[..., None, None]
    Vh = Vh * torch.linalg.det(Vh).sign()[..., None, None]
    W = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=a.dtype, device=a.device)
    candidates = [(U @ Z @ Vh, s * U[..., 2]) for Z in (W, W.mT) for s in (1, -1)]
    front = torch.stack([_in_front(R, t, a, b).sum(-1) for R, t in candidates])
    best = front.argmax(0)
    R, t = (_select(torch.stack(z), best) for z in zip(*candidates))
    w = torch.ones_like(a[..., 0]) if weights is None else weights
    q = mat2SO3(R, check=False).tensor()
    for _ in range(iterations):
        q, t = _refined(q, t, a, b, w)
    return SE3(torch.cat([t, q], -1))


def _select(candidates: Tensor, best: Tensor) -> Tensor:
    """candidates (K, ..., *) at best (...)."""
    index = best.view(1, *best.shape, *[1] * (candidates.dim() - 1 - best.dim()))
    return candidates.gather(0, index.expand(1, *candidates.shape[1:]))[0]


def _in_front(R: Tensor, t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Whether depths of matches are positive in both cameras: z_b b̃ = z_a R ã + t."""
    x, y = cart2homo(a) @ R.mT, cart2homo(b)
    A = torch.stack([y, -x], -1)
    z = torch.linalg.solve(A.mT @ A + 1e-12 * torch.eye(2, dtype=a.dtype, device=a.device),
                           A.mT @ t[..., None, :, None].expand(*x.shape, 1)).squeeze(-1)
    return (z > 0).all(-1)


def _refined(q: Tensor, t: Tensor, a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """One Gauss-Newton step: R from the left by three, t on the sphere by two numbers."""
    basis = torch.linalg.svd(t.unsqueeze(-2)).Vh[..., 1:, :].mT.detach()       # two directions across t

    def moved(d: Tensor) -> tuple[Tensor, Tensor]:
        turned = t + (basis @ d[..., 3:, None]).squeeze(-1)
        return so3.mul(so3.exp(d[..., :3]), q), turned / turned.norm(dim=-1, keepdim=True)

    def residual(d: Tensor) -> Tensor:
        rotation, translation = moved(d)
        return sampson(so3.hat(translation) @ so3.matrix(rotation), a, b)

    zero = t.new_zeros(*t.shape[:-1], 5)
    r = residual(zero)
    h = torch.finfo(t.dtype).eps ** (1 / 3)
    steps = h * torch.eye(5, dtype=t.dtype, device=t.device)
    J = torch.stack([(residual(zero + s) - residual(zero - s)) / (2 * h) for s in steps], -1)
    H = (w.unsqueeze(-1) * J).mT @ J
    H = H + 1e-12 * H.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * torch.eye(5, dtype=t.dtype, device=t.device)
    d = -torch.linalg.solve(H, (J.mT @ (w * r).unsqueeze(-1))).squeeze(-1)
    better = (w * residual(d).square()).sum(-1, keepdim=True) <= (w * r.square()).sum(-1, keepdim=True)
    q_new, t_new = moved(d)
    return torch.where(better, q_new, q), torch.where(better, t_new, t)
