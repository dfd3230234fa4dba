"""Pairwise consistency: which loop closures can be right together.

Closures a from i to j and b from k to l close a loop with the odometry between their ends,

    E = Z_a^-1 T_ik Z_b T_lj,    e = Log E,

which is the identity but for noise. Two are consistent where e' S^-1 e is within the chi-square quantile, S being the
sum of the four covariances, moved to the end of the loop. Right ones are consistent with each other, wrong ones with
few others: the largest set that is consistent in pairs is kept.

Source: Mangelson, Dominic, Eustice, Vasudevan, "Pairwise consistent measurement set maximization for robust
multi-robot map merging", ICRA 2018.
"""
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core import chi_square

from .clique import largest_clique
from .factor_graph import FactorGraph
from .factors import Between
from .groups import Group, normalized


@dataclass(frozen=True)
class ConsistentClosures:
    """What `consistent_closures` returns."""

    kept: Tensor
    """(M,) bool, the closures of the largest consistent set."""
    consistent: Tensor
    """(M, M) bool, which pairs are consistent."""
    proven: bool
    """Whether no larger set exists."""


def consistent_closures(graph: FactorGraph, odometry: Between, closures: Between, *, probability: float = 0.99,
                        max_nodes: int = 20_000) -> ConsistentClosures:
    """The largest set of loop closures that agree in pairs.

    Args:
        graph: names the groups; its values do not matter.
        odometry: trusted, a measurement from each pose to the next one and nothing else, on the set of the closures.
        closures: suspects; their information must be positive definite, as the odometry's.
        probability: with which two right closures pass.
        max_nodes: limit of the search for the largest set.

    Raises:
        ValueError: the odometry is no chain, or an information matrix is singular.
    """
    name = closures.variables[0]
    if odometry.variables[0] != name:
        raise ValueError(f'the closures are on {name!r}, the odometry on {odometry.variables[0]!r}')
    group, count = graph.groups[name], len(graph.values[name])
    order = odometry.index[:, 0].argsort()
    chain = torch.stack([torch.arange(count - 1), torch.arange(1, count)], 1)
    if not torch.equal(odometry.index[order], chain):
        raise ValueError(f'the odometry must measure {name}[k + 1] from {name}[k], once for each k')
    pose, spread = _integrate(group, odometry.measured[order], _covariances(odometry)[order])
    limit, noise = float(chi_square.quantile(probability, group.dof)), _covariances(closures)
    M = len(closures)
    consistent = torch.zeros(M, M, dtype=torch.bool)
    for a in range(M - 1):       # one row at a time: memory grows with M, not with its square
        b = torch.arange(a + 1, M)
        consistent[a, b] = _distances(group, pose, spread, closures, noise, a, b) <= limit
    consistent |= consistent.mT.clone()
    clique, proven = largest_clique(consistent, max_nodes=max_nodes)
    kept = torch.zeros(M, dtype=torch.bool)
    kept[clique] = True
    return ConsistentClosures(kept, consistent, proven)


def _covariances(factors: Between) -> Tensor:
    L, failed = torch.linalg.cholesky_ex(factors.information)
    if bool(failed.any()):
        raise ValueError(f'the information of factor {int(failed.nonzero()[0])} is singular: it has no covariance')
    return torch.cholesky_inverse(L)


def _integrate(group: Group, measured: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Poses of the chain from the identity, and their covariances in the tangent at each."""
    identity = torch.tensor(group.identity, dtype=torch.float64)
    pose, spread = [identity], [torch.zeros_like(noise[0])]
    for Z, A, S in zip(measured, group.adjoint_inverse(measured), noise):
        pose.append(group.relative(group.relative(pose[-1], identity), Z))      # X Z as (X^-1)^-1 Z
        spread.append(A @ spread[-1] @ A.mT + S)
    return normalized(group, torch.stack(pose)), torch.stack(spread)


def _between(group: Group, pose: Tensor, spread: Tensor, i: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """T_ik along the chain, either way, and its covariance in the tangent at its end."""
    first, last = torch.minimum(i, k), torch.maximum(i, k)
    T = group.relative(pose[first], pose[last])
    A = group.adjoint_inverse(T)
    S = spread[last] - A @ spread[first] @ A.mT
    turned = i > k
    back = group.relative(T, torch.tensor(group.identity, dtype=T.dtype))
    B = group.adjoint_inverse(back)
    return torch.where(turned[:, None], back, T), torch.where(turned[:, None, None], B @ S @ B.mT, S)


def _distances(group: Group, pose: Tensor, spread: Tensor, closures: Between, noise: Tensor, a: int,
               b: Tensor) -> Tensor:
    """(B,) e' S^-1 e of closure a with each of b."""
    (i, j), (k, l) = closures.index[a], closures.index[b].unbind(1)
    T_ik, S_ik = _between(group, pose, spread, i.expand_as(k), k)
    T_lj, S_lj = _between(group, pose, spread, l, j.expand_as(l))
    identity = torch.tensor(group.identity, dtype=torch.float64)

    def inverse(X: Tensor) -> Tensor:
        return group.relative(X, identity)

    def moved(S: Tensor, X: Tensor) -> Tensor:
        A = group.adjoint_inverse(X)
        return A @ S @ A.mT

    Z_a, Z_b = closures.measured[a], closures.measured[b]
    tail = group.relative(inverse(Z_b), T_lj)                                        # Z_b T_lj
    E = group.relative(Z_a, group.relative(inverse(T_ik), tail))
    S = S_lj + moved(noise[b], T_lj) + moved(S_ik, tail) + moved(noise[a], E)
    e = group.difference(identity, E)
    return (e * torch.linalg.solve(S, e)).sum(-1)
