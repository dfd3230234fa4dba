"""Loop closures that agree with each other: the largest set found in the graph of pairwise consistency.

Two loops a: i -> j and b: k -> l agree where the circle over both and the odometry between their ends closes within
its uncertainty. Wrong loops may each fit the odometry, but seldom one another.

Source: Mangelsdorf, Dominic, Eustice, Vasudevan, "Pairwise consistent measurement set maximization for robust
multi-robot map merging", ICRA 2018.
"""
import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.lie import se3


def consistent_edges(chain: NDArray, spread: NDArray, ends: NDArray, measured: NDArray, information: NDArray, *,
                     limit: float) -> NDArray[np.bool_]:
    """Which of L loops are kept.

    Args:
        chain: (N, 7) poses by odometry alone.
        spread: (N, 2) variances per axis of translation (m^2) and rotation (rad^2), summed along the odometry.
        ends, measured, information: (L, 2), (L, 7), (L, 6, 6).
        limit: of the squared Mahalanobis distance from closing.
    Returns:
        (L,) bool.
    """
    if len(ends) < 2:
        return np.ones(len(ends), bool)
    chain, spread = torch.from_numpy(chain), torch.from_numpy(spread)
    covariance = torch.linalg.pinv(torch.from_numpy(information), hermitian=True)
    Z, ends = torch.from_numpy(measured), torch.from_numpy(ends)
    inverse = se3.inv(chain)
    first, second = torch.triu_indices(len(ends), len(ends), 1)
    agree = torch.zeros(len(ends), len(ends), dtype=torch.bool)
    for a, b in zip(first.split(65536), second.split(65536)):
        i, j, k, m = ends[a, 0], ends[a, 1], ends[b, 0], ends[b, 1]
        # i -> j by loop a, j -> m by odometry, m -> k by loop b backwards, k -> i by odometry.
        circle = se3.mul(se3.mul(Z[a], se3.mul(inverse[j], chain[m])),
                         se3.mul(se3.inv(Z[b]), se3.mul(inverse[k], chain[i])))
        error = se3.log(circle)
        # Uncertainty in scalar form: rotation turns translations, so axes are mixed and only sizes are kept.
        sigma2 = (mean_variances(covariance[a]) + mean_variances(covariance[b])
                  + (spread[j] - spread[m]).abs() + (spread[k] - spread[i]).abs())
        lever = torch.stack([
            (chain[m, :3] - chain[j, :3]).norm(dim=1), (chain[i, :3] - chain[k, :3]).norm(dim=1),
            Z[b, :3].norm(dim=1)]).amax(0)
        translation = sigma2[:, 0] + sigma2[:, 1] * lever.square()
        distance = error[:, :3].square().sum(1) / translation + error[:, 3:].square().sum(1) / sigma2[:, 1]
        agree[a, b] = agree[b, a] = distance <= limit
    return _clique(agree).numpy()


def mean_variances(covariance: torch.Tensor) -> torch.Tensor:
    """(..., 2) mean variance per axis of translation and of rotation, of covariances (..., 6, 6)."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    return torch.stack([diagonal[..., :3].mean(-1), diagonal[..., 3:].mean(-1)], -1)


def _clique(agree: torch.Tensor) -> torch.Tensor:
    """A large set of vertices that all agree: greedy from each vertex in order of degree; (L,) bool."""
    degree = agree.sum(1)
    best = torch.zeros(len(agree), dtype=torch.bool)
    for seed in degree.argsort(descending=True).tolist():
        if int(degree[seed]) + 1 <= int(best.sum()):
            break
        members, candidates = [seed], agree[seed].clone()
        while bool(candidates.any()):
            score = torch.where(candidates, (agree & candidates).sum(1), -1)
            chosen = int(score.argmax())
            members.append(chosen)
            candidates &= agree[chosen]
        if len(members) > int(best.sum()):
            best = torch.zeros(len(agree), dtype=torch.bool)
            best[members] = True
    return best
