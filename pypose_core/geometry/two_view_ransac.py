"""The relative pose of two cameras when some matches are wrong."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from pypose_core.geometry.alignment import nearest_rotation
from pypose_core.geometry.five_point import five_point
from pypose_core.geometry.homogeneous import cart2homo
from pypose_core.geometry.two_view import (
    in_front,
    linearized,
    pose_from_essential,
    refine_relative_pose,
    sampson,
    sphere_basis,
)
from pypose_core.lie import so3
from pypose_core.lie.convert import mat2SO3
from pypose_core.lie.groups import SE3

LEAST = 8               # inliers: three more than any five matches have
FINALISTS = 24          # matrices that are refined
CHUNK = 256             # matrices that are scored at once
APART = 0.05            # rad of rotation and of the translation's direction, by which two poses differ
ALIKE = 1.5             # times the inliers' cost, up to which another pose explains the matches as well
NO_PARALLAX = 0.95      # share of the inliers that a rotation alone explains


class TwoViewStatus(Enum):
    """What the matches say."""

    FOUND = 'a pose was found'
    AMBIGUOUS = 'another pose explains the matches as well: their points may lie in a plane'
    ROTATION = 'a rotation explains the matches: of the translation nothing is known'
    NOT_FOUND = 'no pose explains enough of the matches'

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class RobustRelativePose:
    """The result of ransac_relative_pose()."""

    T_b_a: SE3
    """The pose (7,); its translation has length one, or zero where the status is ROTATION."""
    covariance: Tensor
    """Of δ in Exp(δ) T, [ρ, φ] (6, 6), of rank five: the translation's length is no part of it. It takes the inliers
    for right; among many wrong matches some lie near their epipolar line by chance, and it is too small then."""
    inliers: Tensor
    """Which matches are within the threshold, before both cameras (N,)."""
    alternatives: SE3
    """Other poses (K, 7) that explain the matches as well."""
    status: TwoViewStatus

    @property
    def success(self) -> bool:
        """Whether the pose is the only one."""
        return self.status is TwoViewStatus.FOUND


def ransac_relative_pose(a: Tensor, b: Tensor, *, threshold: float = 3e-3, samples: int = 512,
                         seed: int = 0) -> RobustRelativePose:
    """T_b_a from matches of which some are wrong.

    Five matches at a time give up to ten essential matrices each; all are scored at once, by the sum of squared
    Sampson's distances cut off at the threshold. The best ones are refined on their inliers; of these the pose with the
    least cost wins, where a match behind a camera costs as much as a wrong one.

    Args:
        a, b: (N, 2), N >= 8, on the planes z = 1 of the first and second camera.
        threshold: Sampson's distance from which on a match is wrong, on that plane: pixels / focal length.
        samples: fives drawn; 512 find a pose with 99.5 % if 40 % of the matches are right.
        seed: of the draws.

    Source: Nistér, An efficient solution to the five-point relative pose problem, PAMI 2004; Torr and Zisserman,
    MLESAC, 2000.
    """
    n = len(a)
    if a.shape != (n, 2) or b.shape != (n, 2) or n < LEAST:
        raise ValueError(f'{LEAST} matches or more are wanted, got {tuple(a.shape)} and {tuple(b.shape)}')
    with torch.no_grad():
        chosen = torch.rand(samples, n, generator=torch.Generator().manual_seed(seed)).topk(5, -1).indices.to(a.device)
        E, good = five_point(a[chosen], b[chosen])
        E = E[good]
        if len(E) == 0:
            return _not_found(a)
        score = torch.cat([_cut(sampson(part, a, b), threshold).sum(-1) for part in E.split(CHUNK)])
        E = E[score.topk(min(FINALISTS, len(E)), largest=False).indices]
        a_all, b_all = (z.expand(len(E), n, 2) for z in (a, b))
        weights = (sampson(E, a, b).abs() < threshold).to(a.dtype)
        T = pose_from_essential(E, a_all, b_all, weights)
        for _ in range(2):
            T = refine_relative_pose(T, a_all, b_all, weights, iterations=4)
            cost = _costs(T, a_all, b_all, threshold)
            weights = (cost < threshold ** 2).to(a.dtype)
        total = cost.sum(-1)
        best = int(total.argmin())
        inliers = weights[best] > 0
        if int(inliers.sum()) < LEAST:
            return _not_found(a)
        pose = T[best]
        rotation = _rotation_alone(a[inliers], b[inliers], threshold)
        if rotation is not None:
            return RobustRelativePose(rotation, torch.full((6, 6), torch.inf, dtype=a.dtype, device=a.device), inliers,
                                      T[:0], TwoViewStatus.ROTATION)
        own = float(total[best]) - (n - int(inliers.sum())) * threshold ** 2
        excess = (ALIKE - 1) * own + n * (1e-3 * threshold) ** 2
        others = T[(total <= total[best] + excess) & _apart(T, pose)]
        alternatives = _distinct(others)
        status = TwoViewStatus.AMBIGUOUS if len(alternatives) else TwoViewStatus.FOUND
        return RobustRelativePose(pose, _covariance(pose, a[inliers], b[inliers]), inliers, alternatives, status)


def _cut(distance: Tensor, threshold: float) -> Tensor:
    return distance.square().clamp_max(threshold ** 2)


def _costs(T: SE3, a: Tensor, b: Tensor, threshold: float) -> Tensor:
    """(..., N) squared distances, cut off; a match behind a camera is wrong."""
    t, q = T.tensor().split((3, 4), -1)
    R = so3.matrix(q)
    square = _cut(sampson(so3.hat(t) @ R, a, b), threshold)
    return torch.where(in_front(R, t, a, b), square, torch.full_like(square, threshold ** 2))


def _rotation_alone(a: Tensor, b: Tensor, threshold: float) -> SE3 | None:
    """The rotation (7,) that takes the first rays to the second, where nearly all are within noise of it.

    The error of a match in both images is up to √2 of that of one, in two dimensions instead of one: twice the
    threshold.
    """
    x, y = (torch.nn.functional.normalize(cart2homo(z), dim=-1) for z in (a, b))
    R = nearest_rotation(y.mT @ x)
    turned = x @ R.mT
    error = (turned[:, :2] / turned[:, 2:] - b).norm(dim=-1)
    within = (error < 2 * threshold) & (turned[:, 2] > 0)
    if float(within.double().mean()) < NO_PARALLAX:
        return None
    return SE3(torch.cat([x.new_zeros(3), mat2SO3(R, check=False).tensor()]))


def _apart(T: SE3, other: SE3) -> Tensor:
    """Which poses (K,) differ from another by more than noise."""
    turned = (T.rotation().Inv() @ other.rotation()).Log().tensor().norm(dim=-1)
    cosine = (T.translation() * other.translation()).sum(-1)
    return (turned > APART) | (cosine < 1 - APART ** 2 / 2)


def _distinct(T: SE3) -> SE3:
    """One of each kind of poses (K, 7)."""
    kept: list[int] = []
    for k in range(len(T)):
        if all(bool(_apart(T[k], T[i])) for i in kept):
            kept.append(k)
    return T[kept]


def _covariance(T: SE3, a: Tensor, b: Tensor) -> Tensor:
    """σ² (JᵀJ)⁻¹ of five dimensions, carried to δ in Exp(δ) T: δt = ρ + φ × t."""
    t, q = T.tensor().split((3, 4), -1)
    r, J, _ = linearized(q, t, a, b)
    five = r.square().sum() / max(len(r) - 5, 1) * torch.linalg.pinv(J.mT @ J, hermitian=True)
    M = t.new_zeros(6, 5)
    M[:3, :3], M[:3, 3:], M[3:, :3] = so3.hat(t), sphere_basis(t), torch.eye(3, dtype=t.dtype, device=t.device)
    return M @ five @ M.mT


def _not_found(a: Tensor) -> RobustRelativePose:
    identity = SE3(torch.tensor([0, 0, 0, 0, 0, 0, 1], dtype=a.dtype, device=a.device))
    return RobustRelativePose(identity, torch.full((6, 6), torch.inf, dtype=a.dtype, device=a.device),
                              torch.zeros(len(a), dtype=torch.bool, device=a.device), identity[None][:0],
                              TwoViewStatus.NOT_FOUND)
