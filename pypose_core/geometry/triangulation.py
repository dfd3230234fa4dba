"""Points from their rays in several cameras."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.lie.groups import SE3


def triangulate(rays: Tensor, T_world_camera: SE3, *, weights: Tensor | None = None,
                iterations: int = 5) -> tuple[Tensor, Tensor]:
    """The points nearest to their observations.

    Starts at the point nearest to the rays in space, then minimizes Σ w |π(T⁻¹ X) - r|² on the planes z = 1 by
    Gauss-Newton steps.

    Args:
        rays: (..., C, 3) of each of C >= 2 cameras, z > 0, any length.
        T_world_camera: poses (..., C, 7).
        weights: (..., C); default equal.
        iterations: Gauss-Newton steps; 0 leaves the start.

    Returns:
        points (..., 3) in the world, and their covariance for observations with unit variance on the plane z = 1,
        (..., 3, 3).
    """
    if rays.shape[-2] < 2:
        raise ValueError(f'triangulation needs two cameras or more, got {rays.shape[-2]}')
    R, t = T_world_camera.rotation().matrix(), T_world_camera.translation()
    w = torch.ones_like(rays[..., 0]) if weights is None else weights
    d = (R @ rays.unsqueeze(-1)).squeeze(-1)
    d = d / d.norm(dim=-1, keepdim=True)
    across = torch.eye(3, dtype=d.dtype, device=d.device) - d.unsqueeze(-1) * d.unsqueeze(-2)
    weighted = w[..., None, None] * across
    X = torch.linalg.solve(weighted.sum(-3), (weighted @ t.unsqueeze(-1)).sum(-3)).squeeze(-1)
    seen, down = rays[..., :2] / rays[..., 2:], R.mT
    for step in range(iterations + 1):
        p = (down @ (X.unsqueeze(-2) - t).unsqueeze(-1)).squeeze(-1)
        z = p[..., 2:]
        J = torch.cat([torch.eye(2, dtype=p.dtype, device=p.device).expand(*p.shape[:-1], 2, 2),
                       -(p[..., :2] / z).unsqueeze(-1)], -1) / z.unsqueeze(-1) @ down
        r = (p[..., :2] / z - seen).unsqueeze(-1)
        H = (w[..., None, None] * (J.mT @ J)).sum(-3)
        if step < iterations:
            X = X - torch.linalg.solve(H, (w[..., None, None] * (J.mT @ r)).sum(-3)).squeeze(-1)
    return X, torch.linalg.inv(H)
