"""The relative pose of two cameras from matched rays."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core.geometry.five_point import five_point
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
    normal, Ta, Tb = _normal_matrix(a, b, weights)
    E = torch.linalg.eigh(normal).eigenvectors[..., 0].unflatten(-1, (3, 3))
    U, _, Vh = torch.linalg.svd(Tb.mT @ E @ Ta)
    return U[..., :2] @ Vh[..., :2, :]


def _normal_matrix(a: Tensor, b: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """AᵀA (..., 9, 9) of the equations A vec(E) = 0 on conditioned points, and what conditions them."""
    if a.shape[-2] < 8 or a.shape != b.shape:
        raise ValueError(f'eight matches or more are wanted, got {tuple(a.shape)} and {tuple(b.shape)}')
    (x, Ta), (y, Tb) = _conditioned(a), _conditioned(b)
    rows = (y.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
    if weights is not None:
        rows = rows * weights.sqrt().unsqueeze(-1)
    return rows.mT @ rows, Ta, Tb


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


def eight_point_is_determined(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """Whether the matches leave the eight-point algorithm one matrix only: bool (...,).

    They do not where the points lie in a plane, or where the cameras differ by a rotation: then the smallest singular
    values of its equations are alike, however small the noise. Arguments as of essential_matrix().
    """
    values = torch.linalg.eigvalsh(_normal_matrix(a, b, weights)[0])
    return values[..., 1] > torch.maximum(4 * values[..., 0], 1e-12 * values[..., 8])


def pose_from_essential(E: Tensor, a: Tensor, b: Tensor, weights: Tensor | None = None) -> SE3:
    """Of the four T_b_a that an essential matrix stands for, that with most matches before both cameras.

    Args:
        E: (..., 3, 3).
        a, b: (..., N, 2) on the planes z = 1.
        weights: (..., N), of the matches' votes; default equal.

    Returns:
        SE3 (..., 7), the translation of unit length.

    Source: Nistér, An efficient solution to the five-point relative pose problem, PAMI 2004, section 3.2.
    """
    U, _, Vh = torch.linalg.svd(E)
    U = U * torch.linalg.det(U).sign()[..., None, None]
    Vh = Vh * torch.linalg.det(Vh).sign()[..., None, None]
    W = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=E.dtype, device=E.device)
    candidates = [(U @ Z @ Vh, s * U[..., 2]) for Z in (W, W.mT) for s in (1, -1)]
    votes = torch.ones_like(a[..., 0]) if weights is None else weights
    front = torch.stack([(votes * in_front(R, t, a, b)).sum(-1) for R, t in candidates])
    R, t = (_select(torch.stack(z), front.argmax(0)) for z in zip(*candidates))
    return SE3(torch.cat([t, mat2SO3(R, check=False).tensor()], -1))


def relative_pose(a: Tensor, b: Tensor, weights: Tensor | None = None, *, iterations: int = 10) -> SE3:
    """T_b_a with a translation of unit length, from matches that are all right.

    The eight-point solution with most points before both cameras, then Gauss-Newton steps on Sampson's distance in
    the five dimensions that matches determine. Where the eight-point algorithm has no answer, as for points in a plane,
    the best of five-point solutions takes its place; a plane may leave two poses equally good, of which
    ransac_relative_pose() tells.

    Args:
        a, b: (..., N, 2), N >= 6, on the planes z = 1.
        weights: (..., N); default equal.
        iterations: Gauss-Newton steps.

    Returns:
        SE3 (..., 7).
    """
    if a.shape[-2] < 6 or a.shape != b.shape:
        raise ValueError(f'six matches or more are wanted, got {tuple(a.shape)} and {tuple(b.shape)}')
    if a.shape[-2] < 8:
        E = _best_of_five(a, b, weights)
    else:
        E = essential_matrix(a, b, weights)
        determined = eight_point_is_determined(a, b, weights)
        if not bool(determined.all()):
            E = torch.where(determined[..., None, None], E, _best_of_five(a, b, weights))
    w = torch.ones_like(a[..., 0]) if weights is None else weights
    return refine_relative_pose(pose_from_essential(E, a, b, weights), a, b, w, iterations=iterations)


def _best_of_five(a: Tensor, b: Tensor, weights: Tensor | None, subsets: int = 16) -> Tensor:
    """The five-point solution (..., 3, 3) that fits all matches best, over some subsets of them."""
    n = a.shape[-2]
    chosen = torch.rand(subsets, n, generator=torch.Generator().manual_seed(0)).topk(5, -1).indices.to(a.device)
    E, good = five_point(a[..., chosen, :], b[..., chosen, :])
    E, good = E.flatten(-4, -3), good.flatten(-2)
    square = sampson(E, a.unsqueeze(-3), b.unsqueeze(-3)).square()
    cost = (square if weights is None else weights.unsqueeze(-2) * square).sum(-1)
    best = torch.where(good, cost, torch.full_like(cost, torch.inf)).argmin(-1)
    return _select(E.movedim(-3, 0), best)


def refine_relative_pose(T: SE3, a: Tensor, b: Tensor, weights: Tensor, *, iterations: int = 10) -> SE3:
    """Gauss-Newton on Σ w (Sampson's distance)² from T_b_a (..., 7), whose translation keeps its length of one."""
    t, q = T.tensor().split((3, 4), -1)
    for _ in range(iterations):
        q, t = _refined(q, t, a, b, weights)
    return SE3(torch.cat([t, q], -1))


def _select(candidates: Tensor, best: Tensor) -> Tensor:
    """candidates (K, ..., *) at best (...)."""
    index = best.view(1, *best.shape, *[1] * (candidates.dim() - 1 - best.dim()))
    return candidates.gather(0, index.expand(1, *candidates.shape[1:]))[0]


def in_front(R: Tensor, t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Whether depths of matches are positive in both cameras: z_b b̃ = z_a R ã + t."""
    x, y = cart2homo(a) @ R.mT, cart2homo(b)
    A = torch.stack([y, -x], -1)
    z = torch.linalg.solve(A.mT @ A + 1e-12 * torch.eye(2, dtype=a.dtype, device=a.device),
                           A.mT @ t[..., None, :, None].expand(*x.shape, 1)).squeeze(-1)
    return (z > 0).all(-1)


def _refined(q: Tensor, t: Tensor, a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """One Gauss-Newton step: R from the left by three, t on the sphere by two numbers."""
    r, J, moved = linearized(q, t, a, b)
    H = (w.unsqueeze(-1) * J).mT @ J
    H = H + 1e-12 * H.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * torch.eye(5, dtype=t.dtype, device=t.device)
    step, singular = torch.linalg.solve_ex(H, (J.mT @ (w * r).unsqueeze(-1)))
    d = torch.where(singular.unsqueeze(-1) == 0, -step.squeeze(-1), torch.zeros_like(t[..., :1]))    # no weights: none
    q_new, t_new = moved(d)
    square = sampson(so3.hat(t_new) @ so3.matrix(q_new), a, b).square()
    better = (w * square).sum(-1, keepdim=True) <= (w * r.square()).sum(-1, keepdim=True)
    return torch.where(better, q_new, q), torch.where(better, t_new, t)


def linearized(q: Tensor, t: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Callable]:
    """Sampson's distances (..., N), their Jacobian (..., N, 5) by φ of Exp(φ) R and by t along sphere_basis(t), and
    the pose moved by such five numbers."""
    basis, R = sphere_basis(t), so3.matrix(q)

    def moved(d: Tensor) -> tuple[Tensor, Tensor]:
        turned = t + (basis @ d[..., 3:, None]).squeeze(-1)
        return so3.mul(so3.exp(d[..., :3]), q), turned / turned.norm(dim=-1, keepdim=True)

    E, eye = so3.hat(t) @ R, torch.eye(3, dtype=t.dtype, device=t.device)
    dE = torch.cat([so3.hat(t).unsqueeze(-3) @ so3.hat(eye), so3.hat(basis.mT)], -3)   # (..., 5, 3, 3)
    dE = dE @ R.unsqueeze(-3)
    x, y = cart2homo(a), cart2homo(b)
    Ex, Ey = x @ E.mT, y @ E
    dEx, dEy = x.unsqueeze(-3) @ dE.mT, y.unsqueeze(-3) @ dE         # (..., 5, N, 3)
    n, s = (y * Ex).sum(-1), (Ex[..., :2].square().sum(-1) + Ey[..., :2].square().sum(-1)).clamp_min(1e-24).sqrt()
    ds = ((Ex.unsqueeze(-3) * dEx)[..., :2].sum(-1) + (Ey.unsqueeze(-3) * dEy)[..., :2].sum(-1)) / s.unsqueeze(-2)
    J = ((y.unsqueeze(-3) * dEx).sum(-1) - (n / s).unsqueeze(-2) * ds) / s.unsqueeze(-2)
    return n / s, J.mT, moved


def sphere_basis(t: Tensor) -> Tensor:
    """Two directions (..., 3, 2) across a unit vector (..., 3)."""
    return torch.linalg.svd(t.unsqueeze(-2)).Vh[..., 1:, :].mT.detach()
