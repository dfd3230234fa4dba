"""The pose of a camera from any number of points, in PyPose's form."""
from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from pypose_core.geometry.alignment import align
from pypose_core.geometry.homogeneous import cart2homo
from pypose_core.geometry.p3p import p3p
from pypose_core.geometry.pnp import normalized, refine_pose, with_gradient
from pypose_core.geometry.projection import reprojerr
from pypose_core.lie.convert import mat2SO3
from pypose_core.lie.groups import SE3

PAIRS = tuple(combinations(range(4), 2))
REFINED = 3
"""Candidates whose reprojection error is minimized."""


class EPnP(nn.Module):
    """The camera's pose from N >= 4 points, at a cost that grows with N, without a start.

    Args:
        intrinsics: K (..., 3, 3); skew is allowed.
        refine: minimize the reprojection error in the end. The result is then the least-squares estimate.

    The points are combinations of four control points, whose positions in the camera lie in the null space of a
    12 × 12 matrix; the combination of null vectors comes from the control points' distances. For points in one plane
    a homography is tried too, and for up to six points the poses from three of them; the pose with the least
    reprojection error wins.

    Source: Lepetit, Moreno-Noguer and Fua, EPnP: an accurate O(n) solution to the PnP problem, IJCV 2009.
    """

    def __init__(self, intrinsics: Tensor | None = None, refine: bool = True):
        super().__init__()
        self.refine = refine
        self.intrinsics: Tensor | None
        self.register_buffer('intrinsics', intrinsics)

    def forward(self, points: Tensor, pixels: Tensor, intrinsics: Tensor | None = None) -> SE3:
        """The pose T_camera_world.

        Args:
            points: (..., N, 3) in the world.
            pixels: (..., N, 2).
            intrinsics: K (..., 3, 3); default the constructor's.

        Returns:
            SE3 (..., 7), with `refine` differentiable by all inputs.
        """
        intrinsics = self.intrinsics if intrinsics is None else intrinsics
        if intrinsics is None:
            raise ValueError('no intrinsics: give them here or to the constructor')
        n = points.shape[-2]
        if n < 4 or pixels.shape[-2] != n:
            raise ValueError(f'four matches or more are wanted, got {n} points and {pixels.shape[-2]} pixels')
        batch = torch.broadcast_shapes(points.shape[:-2], pixels.shape[:-2], intrinsics.shape[:-2])
        points, pixels = points.expand(*batch, n, 3), pixels.expand(*batch, n, 2)
        K = intrinsics.expand(*batch, 3, 3)
        plane, scale = normalized(pixels, K), K[..., :2, :2]
        with torch.no_grad():
            found = [*_from_control_points(points, plane), _from_homography(points, plane)]
            if n <= 6:
                found += _from_triples(points, plane)
            R, t = (torch.stack(z) for z in zip(*found))
            T = torch.cat([t, mat2SO3(R, check=False).tensor()], -1)
            T = torch.where(T.isfinite().all(-1, keepdim=True), T, SE3(T.new_tensor([0, 0, 0, 0, 0, 0, 1])).tensor())
            weights = torch.ones_like(plane[..., 0])
            if self.refine:
                T = _best(T, _cost(points, pixels, K, T), REFINED)
                T = refine_pose(T, *(z.expand(len(T), *z.shape) for z in (points, plane, scale, weights)))[0]
            T = _best(T, _cost(points, pixels, K, T), 1)[0]
        return SE3(with_gradient(T, points, plane, scale, weights) if self.refine else T)


def _best(T: Tensor, cost: Tensor, count: int) -> Tensor:
    """The `count` of the candidates (C, ..., 7) with the least cost (C, ...)."""
    best = cost.topk(min(count, len(cost)), 0, largest=False).indices
    return T.gather(0, best.unsqueeze(-1).expand(*best.shape, 7))


def _cost(points: Tensor, pixels: Tensor, K: Tensor, T: Tensor) -> Tensor:
    """Sum of squared pixel errors of candidates (C, ...), infinite where a point is behind the camera."""
    X = SE3(T)
    error = reprojerr(points, pixels, K, X).square().sum((-2, -1))
    behind = ((X.unsqueeze(-2) @ points)[..., 2] <= 0).any(-1)
    # Behind the camera is worse than any error before it, and among those the error still decides.
    error = torch.where(error.isfinite(), error, torch.full_like(error, torch.finfo(error.dtype).max / 4))
    return torch.where(behind, error + torch.finfo(error.dtype).max / 4, error)


def _principal(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (..., 1, 3), standard deviations ascending (..., 3) and axes in columns (..., 3, 3)."""
    mean = points.mean(-2, keepdim=True)
    d = points - mean
    values, axes = torch.linalg.eigh(d.mT @ d / points.shape[-2])
    return mean, values.clamp_min(0).sqrt(), axes


def _from_control_points(points: Tensor, plane: Tensor) -> list[tuple[Tensor, Tensor]]:
    mean, sigma, axes = _principal(points)
    sigma = torch.maximum(sigma, 1e-3 * sigma[..., -1:].clamp_min(1e-12))     # flat sets keep four distinct ones
    controls = torch.cat([mean, mean + sigma.unsqueeze(-1) * axes.mT], -2)
    alpha = torch.linalg.solve(cart2homo(controls), cart2homo(points), left=False)
    zero = torch.zeros_like(alpha)
    M = torch.cat([torch.stack([alpha, zero, -alpha * plane[..., :1]], -1).flatten(-2),
                   torch.stack([zero, alpha, -alpha * plane[..., 1:]], -1).flatten(-2)], -2)
    null = torch.linalg.eigh(M.mT @ M).eigenvectors[..., :4].mT.unflatten(-1, (4, 3))    # (..., 4 vectors, 4, 3)
    i, j = zip(*PAIRS)
    apart = null[..., i, :] - null[..., j, :]                                       # (..., 4, 6, 3)
    rho = (controls[..., i, :] - controls[..., j, :]).square().sum(-1)
    first = torch.stack([_first_betas(apart, rho, used) for used in (1, 2, 3)])
    beta = _refined_betas(first, apart, rho)
    camera = alpha @ (beta[..., None, None] * null).sum(-3)
    camera = camera * camera[..., 2].mean(-1).sign()[..., None, None]
    R, t, _ = align(points.expand(camera.shape), camera)
    return [*zip(R, t)]


def _first_betas(apart: Tensor, rho: Tensor, used: int) -> Tensor:
    """β of the first `used` null vectors, from the distances, linear in the products β_a β_b."""
    products = [(a, b) for a in range(used) for b in range(a, used)]
    columns = [(apart[..., a, :, :] * apart[..., b, :, :]).sum(-1) * (1 if a == b else 2) for a, b in products]
    L = torch.stack(columns, -1)
    solved = (torch.linalg.pinv(L) @ rho.unsqueeze(-1)).squeeze(-1)
    of = {pair: solved[..., k] for k, pair in enumerate(products)}
    first = of[0, 0].abs().sqrt().clamp_min(1e-12)
    beta = [first] + [of[0, b] / first * of[0, 0].sign() for b in range(1, used)]
    return torch.stack(beta + [torch.zeros_like(first)] * (4 - used), -1)


def _refined_betas(beta: Tensor, apart: Tensor, rho: Tensor, iterations: int = 8) -> Tensor:
    """Gauss-Newton on the six squared distances between control points."""
    eye = torch.eye(4, dtype=beta.dtype, device=beta.device)
    for _ in range(iterations):
        d = (beta[..., None, None] * apart).sum(-3)
        J = 2 * (apart * d.unsqueeze(-3)).sum(-1).mT
        H = J.mT @ J
        H = H + 1e-9 * H.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * eye + 1e-30 * eye
        beta = beta - torch.linalg.solve(H, J.mT @ (d.square().sum(-1) - rho).unsqueeze(-1)).squeeze(-1)
    return beta


def _from_homography(points: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
    """The pose for points in one plane: H ~ [r₁ r₂ t] in the plane's coordinates."""
    mean, sigma, axes = _principal(points)
    frame = axes.flip(-1)                                        # the two widest directions first
    frame = frame * torch.cat([torch.ones_like(sigma[..., :2]), torch.linalg.det(frame).sign().unsqueeze(-1)],
                              -1).unsqueeze(-2)
    size = sigma[..., -1, None, None].clamp_min(1e-12)
    local = cart2homo(((points - mean) @ frame)[..., :2] / size)
    zero = torch.zeros_like(local)
    A = torch.cat([torch.cat([local, zero, -plane[..., :1] * local], -1),
                   torch.cat([zero, local, -plane[..., 1:] * local], -1)], -2)
    h = torch.linalg.eigh(A.mT @ A).eigenvectors[..., 0].unflatten(-1, (3, 3))
    h = h * torch.where(h[..., 2:, 2:] < 0, -1.0, 1.0)           # the middle of the points is ahead
    first, second, t = h[..., 0] / size[..., 0], h[..., 1] / size[..., 0], h[..., 2]
    scale = ((first.norm(dim=-1) + second.norm(dim=-1)) / 2).clamp_min(1e-30).unsqueeze(-1)
    both = torch.stack([first, second], -1) / scale.unsqueeze(-1)
    U, _, Vh = torch.linalg.svd(both, full_matrices=False)
    both = U @ Vh
    R = torch.cat([both, torch.linalg.cross(both[..., 0], both[..., 1]).unsqueeze(-1)], -1) @ frame.mT
    return R, t / scale - (R @ mean.mT).squeeze(-1)


def _from_triples(points: Tensor, plane: Tensor) -> list[tuple[Tensor, Tensor]]:
    found = []
    rays = cart2homo(plane)
    for chosen in combinations(range(min(points.shape[-2], 4)), 3):
        R, t, good = p3p(points[..., chosen, :], rays[..., chosen, :])
        t = torch.where(good.unsqueeze(-1), t, torch.full_like(t, torch.nan))
        found += list(zip(R.unbind(-3), t.unbind(-2)))
    return found
