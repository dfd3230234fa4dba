"""The pose of a camera from three points."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.geometry.alignment import align


def p3p(points: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Up to four poses in which three points are seen along three rays.

    With the distances s₂ = u s₁, s₃ = v s₁ the cosine laws of the three triangles give a quartic in v.

    Args:
        points: (..., 3, 3) in the world, one in each row.
        rays: (..., 3, 3) in the camera, of any length.

    Returns:
        R, t with p_camera = R p_world + t: (..., 4, 3, 3), (..., 4, 3), and which of the four are solutions (..., 4).

    Source: Grunert, 1841, as in Haralick et al., Review and analysis of solutions of the three point perspective pose
    estimation problem, IJCV 1994.
    """
    f = rays / rays.norm(dim=-1, keepdim=True)
    square = (points[..., [1, 0, 0], :] - points[..., [2, 2, 1], :]).square().sum(-1).clamp_min(1e-30)
    a2, b2, c2 = square.unbind(-1)
    ca, cb, cg = ((f[..., i, :] * f[..., j, :]).sum(-1) for i, j in ((1, 2), (0, 2), (0, 1)))
    k, m, n = (a2 - c2) / b2, (a2 + c2) / b2, c2 / b2
    A4 = (k - 1) ** 2 - 4 * n * ca ** 2
    A3 = 4 * (k * (1 - k) * cb - (1 - m) * ca * cg + 2 * n * ca ** 2 * cb)
    A2 = 2 * (k ** 2 - 1 + 2 * k ** 2 * cb ** 2 + 2 * (1 - n) * ca ** 2 - 4 * m * ca * cb * cg
              + 2 * (1 - a2 / b2) * cg ** 2)
    A1 = 4 * (-k * (1 + k) * cb + 2 * a2 / b2 * cg ** 2 * cb - (1 - m) * ca * cg)
    A0 = (1 + k) ** 2 - 4 * a2 / b2 * cg ** 2
    v, good = _real_roots(torch.stack([A4, A3, A2, A1, A0], -1))
    ca, cb, cg, k, a2, b2, c2 = (z.unsqueeze(-1) for z in (ca, cb, cg, k, a2, b2, c2))
    divisor = 2 * (cg - v * ca)
    safe = divisor.abs() > 1e-12
    u = ((k - 1) * v ** 2 - 2 * k * cb * v + 1 + k) / torch.where(safe, divisor, torch.ones_like(divisor))
    s1 = (b2 / (1 + v ** 2 - 2 * v * cb).clamp_min(1e-30)).sqrt()
    s = torch.stack([s1, u * s1, v * s1], -1)                 # (..., 4, 3)
    # The roots are polished on the three cosine laws, which are better conditioned than the quartic.
    lengths, cosines = torch.stack([a2, b2, c2], -1), torch.stack([ca, cb, cg], -1)
    pairs = ((1, 2), (0, 2), (0, 1))
    for _ in range(3):
        parts, J = [], torch.zeros(*s.shape, 3, dtype=s.dtype, device=s.device)
        for row, (i, j) in enumerate(pairs):
            si, sj, c = s[..., i], s[..., j], cosines[..., row]
            parts.append(si ** 2 + sj ** 2 - 2 * si * sj * c - lengths[..., row])
            J[..., row, i], J[..., row, j] = 2 * (si - sj * c), 2 * (sj - si * c)
        r = torch.stack(parts, -1)
        step, info = torch.linalg.solve_ex(J, r.unsqueeze(-1))
        s = torch.where(((info == 0) & step.isfinite().all(-1).all(-1)).unsqueeze(-1), s - step.squeeze(-1), s)
    good = good & safe & (s > 0).all(-1) & (r.abs() < 1e-4 * lengths).all(-1)
    s = torch.where(good.unsqueeze(-1), s, torch.ones_like(s))
    camera = s.unsqueeze(-1) * f.unsqueeze(-3)
    R, t, _ = align(points.unsqueeze(-3).expand(camera.shape), camera)
    return R, t, good


def _real_roots(c: Tensor) -> tuple[Tensor, Tensor]:
    """Real roots of quartics (..., 5), highest power first: (..., 4), and which of them are real."""
    lead = c[..., :1]
    usable = lead.abs() > 1e-12 * c.abs().amax(-1, keepdim=True)
    monic = c[..., 1:] / torch.where(usable, lead, torch.ones_like(lead))
    companion = torch.zeros(*c.shape[:-1], 4, 4, dtype=c.dtype, device=c.device)
    companion[..., 0, :] = -monic
    companion[..., 1:, :3] = torch.eye(3, dtype=c.dtype, device=c.device)
    companion = torch.where(companion.isfinite().all(-1, keepdim=True).all(-2, keepdim=True), companion,
                            torch.zeros_like(companion))
    roots = torch.linalg.eigvals(companion)
    # A double root comes out as a pair with small imaginary parts.
    tolerance = torch.finfo(c.dtype).eps ** 0.4
    return roots.real, usable & (roots.imag.abs() < tolerance * (1 + roots.real.abs()))
