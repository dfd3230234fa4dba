"""The pose of a camera from points and their pixels, by least squares, and robustly."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.geometry.homogeneous import cart2homo
from pypose_core.geometry.p3p import p3p
from pypose_core.lie import se3 as twists
from pypose_core.lie import so3
from pypose_core.lie.convert import mat2SO3
from pypose_core.lie.groups import SE3, se3


def normalized(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """K⁻¹ [u, v, 1] on the plane z = 1: (..., N, 2), (..., 3, 3) -> (..., N, 2)."""
    return (cart2homo(pixels) @ torch.linalg.inv(intrinsics).mT)[..., :2]


def _residual(T: Tensor, points: Tensor, plane: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel errors (..., N, 2), their Jacobian by δ in Exp(δ) T (..., N, 2, 6), depths (..., N)."""
    p = so3.act(T[..., None, 3:7], points) + T[..., None, :3]
    z = p[..., 2:].abs().clamp_min(1e-9)
    q = p[..., :2] / z
    r = ((q - plane).unsqueeze(-2) @ scale.unsqueeze(-3).mT).squeeze(-2)
    eye = torch.eye(2, dtype=p.dtype, device=p.device).expand(*p.shape[:-1], 2, 2)
    of_point = torch.cat([eye, -q.unsqueeze(-1)], -1) / z.unsqueeze(-1)
    by_pose = torch.cat([torch.eye(3, dtype=p.dtype, device=p.device).expand(*p.shape[:-1], 3, 3), -so3.hat(p)], -1)
    return r, scale.unsqueeze(-3) @ of_point @ by_pose, p[..., 2]


def refine_pose(T: Tensor, points: Tensor, plane: Tensor, scale: Tensor, weights: Tensor, *,
                iterations: int = 15) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt on Σ w |pixel error|² for a batch of poses.

    Args:
        T: T_camera_world (..., 7).
        points, plane: (..., N, 3), (..., N, 2) on the plane z = 1.
        scale: (..., 2, 2), from that plane to pixels.
        weights: (..., N).

    Returns:
        T, and the Hessian JᵀWJ by δ in Exp(δ) T (..., 6, 6). Without gradients; see with_gradient().
    """
    with torch.no_grad():
        damping = torch.full_like(T[..., 0], 1e-4)
        r, J, _ = _residual(T, points, plane, scale)
        cost = (weights * r.square().sum(-1)).sum(-1)
        eye = torch.eye(6, dtype=T.dtype, device=T.device)
        for _ in range(iterations):
            H, g = _normal_equations(J, r, weights)
            damped = H + damping[..., None, None] * torch.diag_embed(H.diagonal(dim1=-2, dim2=-1)) + 1e-12 * eye
            step, _ = torch.linalg.solve_ex(damped, -g)
            trial = (se3(step.squeeze(-1)).Exp() @ SE3(T)).tensor()
            r_trial, J_trial, depth = _residual(trial, points, plane, scale)
            trial_cost = (weights * r_trial.square().sum(-1)).sum(-1)
            better = (trial_cost <= cost) & ((depth > 0) | (weights == 0)).all(-1)
            T = torch.where(better.unsqueeze(-1), trial, T)
            r, J = (torch.where(better.view(*better.shape, *[1] * (a.dim() - better.dim())), a, b)
                    for a, b in ((r_trial, r), (J_trial, J)))
            cost = torch.where(better, trial_cost, cost)
            damping = torch.where(better, damping * 0.2, damping * 10).clamp(1e-12, 1e12)
            # Of a point at a distance d and seen with focal length f, a step of ε moves the pixel by f ε / d.
            if bool((step.abs().amax((-2, -1)) < 1e-8 * (1 + T[..., :3].abs().amax(-1))).all()):
                break
        return T, _normal_equations(J, r, weights)[0]


def _normal_equations(J: Tensor, r: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    rows, flat = J.flatten(-3, -2), r.flatten(-2)
    w = weights.repeat_interleave(2, -1).unsqueeze(-1)
    return rows.mT @ (w * rows), rows.mT @ (w * flat.unsqueeze(-1))


def with_gradient(T: Tensor, points: Tensor, plane: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """A minimizer T, given without gradients, as a function of the data: by the implicit function theorem."""
    if not (torch.is_grad_enabled() and any(z.requires_grad for z in (points, plane, scale, weights))):
        return T
    delta = torch.zeros(*T.shape[:-1], 6, dtype=T.dtype, device=T.device, requires_grad=True)
    moved = twists.mul(twists.exp(delta), T.detach())
    r = _residual(moved, points, plane, scale)[0]
    g, = torch.autograd.grad(0.5 * (weights * r.square().sum(-1)).sum(), delta, create_graph=True)
    rows = [torch.autograd.grad(g[..., i].sum(), delta, retain_graph=True)[0] for i in range(6)]
    H = torch.stack(rows, -2)
    step = -torch.linalg.solve(H, (g - g.detach()).unsqueeze(-1)).squeeze(-1)
    return twists.mul(twists.exp(step), T.detach())


@dataclass(frozen=True)
class RobustPnP:
    """The result of ransac_pnp()."""

    T_camera_world: SE3
    """The pose (7,)."""
    covariance: Tensor
    """Of δ in Exp(δ) T, [ρ, φ] (6, 6)."""
    inliers: Tensor
    """Which matches are within the threshold (N,)."""
    success: bool
    """Whether a pose with at least four inliers was found."""


def ransac_pnp(points: Tensor, pixels: Tensor, intrinsics: Tensor, *, threshold: float = 3.0, samples: int = 256,
               seed: int = 0) -> RobustPnP:
    """The pose of a camera when some matches are wrong.

    Three matches at a time give up to four poses each; all are scored at once, by the sum of squared errors cut off
    at the threshold. The best is refined on its inliers, twice.

    Args:
        points: (N, 3), N >= 4.
        pixels: (N, 2).
        intrinsics: K (3, 3).
        threshold: pixels, from which on a match is wrong.
        samples: triples drawn; 256 find a pose with 99.9 % if 30 % of the matches are right.
        seed: of the draws.

    Source: Fischler and Bolles, Random sample consensus, 1981; Torr and Zisserman, MLESAC, 2000.
    """
    n = len(points)
    if points.shape != (n, 3) or pixels.shape != (n, 2) or n < 4:
        raise ValueError(f'four matches or more are wanted, got {tuple(points.shape)} and {tuple(pixels.shape)}')
    with torch.no_grad():
        plane, scale = normalized(pixels, intrinsics), intrinsics[:2, :2]
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.rand(samples, n, generator=generator).topk(3, -1).indices.to(points.device)
        R, t, good = p3p(points[chosen], cart2homo(plane[chosen]))
        R, t = R[good], t[good]
        if len(R) == 0:
            identity = torch.tensor([0, 0, 0, 0, 0, 0, 1], dtype=points.dtype, device=points.device)
            return RobustPnP(SE3(identity), torch.full((6, 6), torch.inf, dtype=points.dtype),
                             torch.zeros(n, dtype=torch.bool), False)
        poses = torch.cat([t, mat2SO3(R, check=False).tensor()], -1)
        score = _squared_errors(poses, points, plane, scale).clamp_max(threshold ** 2).sum(-1)
        T = poses[score.argmin()]
        for _ in range(2):
            inliers = _squared_errors(T, points, plane, scale) < threshold ** 2
            T, H = refine_pose(T, points, plane, scale, inliers.to(points.dtype))
        square = _squared_errors(T, points, plane, scale)
        inliers = square < threshold ** 2
        count = int(inliers.sum())
        variance = square[inliers].sum() / max(2 * count - 6, 1)
        return RobustPnP(SE3(T), variance * torch.linalg.pinv(H, hermitian=True), inliers, count >= 4)


def _squared_errors(T: Tensor, points: Tensor, plane: Tensor, scale: Tensor) -> Tensor:
    """Squared pixel errors (..., N), infinite behind the camera."""
    p = so3.act(T[..., None, 3:7], points) + T[..., None, :3]
    ahead = p[..., 2:] > 1e-9
    q = p[..., :2] / torch.where(ahead, p[..., 2:], torch.ones_like(p[..., 2:]))
    r = (q - plane) @ scale.mT
    return torch.where(ahead[..., 0], r.square().sum(-1), torch.full_like(r[..., 0], torch.inf))
