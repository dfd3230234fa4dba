"""Nearest neighbours: a k-d tree on the CPU, blocks of distances elsewhere."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 1 << 22
"""Distances held in memory at once by brute force."""
TREE_FROM = 512
"""Neighbours from which on building a tree pays, on the CPU."""


def knn(ref: Tensor, nbr: Tensor, k: int = 1, ord: int | float | str = 2, dim: int = -1, largest: bool = False,
        sorted: bool = True) -> Any:
    """The k points of nbr that are nearest to each point of ref.

    Args:
        ref: (..., N1, d).
        nbr: (..., N2, d), leading dimensions broadcast.
        k: 1 .. N2.
        ord: order of the norm.
        dim: where the coordinates are; the last dimension.
        largest: the farthest instead.
        sorted: in order of their distance.

    Returns:
        torch.return_types.topk(values, indices): distances and indices, both (..., N1, k). The distances are
        differentiable.
    """
    if dim not in (-1, ref.dim() - 1):
        raise ValueError(f'dim must be the last dimension, got {dim}')
    if not 1 <= k <= nbr.shape[-2]:
        raise ValueError(f'k must be from 1 to the number of neighbours {nbr.shape[-2]}, got {k}')
    if ref.shape[-1] != nbr.shape[-1]:
        raise ValueError(f'points of {ref.shape[-1]} and {nbr.shape[-1]} coordinates')
    batch = torch.broadcast_shapes(ref.shape[:-2], nbr.shape[:-2])
    n1, n2, d = ref.shape[-2], nbr.shape[-2], ref.shape[-1]
    tree = (ref.device.type == 'cpu' and not largest and n2 >= TREE_FROM and d <= 8 and k <= n2 // 8
            and isinstance(ord, (int, float)) and ord >= 1)
    with torch.no_grad():
        flat_ref, flat_nbr = (z.expand(*batch, *z.shape[-2:]).reshape(-1, *z.shape[-2:]) for z in (ref, nbr))
        if tree and not isinstance(ord, str) and bool(flat_ref.isfinite().all()) and bool(flat_nbr.isfinite().all()):
            indices = torch.stack([PointTree(b).query(a, k, ord) for a, b in zip(flat_ref, flat_nbr)])
        else:
            indices = torch.stack([_blocks(a, b, k, ord, largest, sorted) for a, b in zip(flat_ref, flat_nbr)])
    indices = indices.view(*batch, n1, k)
    found = take(nbr.expand(*batch, n2, d), indices)
    values = torch.linalg.vector_norm(ref.unsqueeze(-2) - found, ord=ord, dim=-1)
    return torch.return_types.topk((values, indices))


def take(points: Tensor, indices: Tensor) -> Tensor:
    """points (..., N, d) at indices (..., M, k) -> (..., M, k, d)."""
    flat = indices.flatten(-2).unsqueeze(-1).expand(*indices.shape[:-2], -1, points.shape[-1])
    return points.gather(-2, flat).unflatten(-2, indices.shape[-2:])


def _blocks(ref: Tensor, nbr: Tensor, k: int, ord, largest: bool, sorted: bool) -> Tensor:
    rows = max(1, BLOCK // max(1, len(nbr)))
    parts = []
    for block in ref.split(rows):
        if ord == 2 and len(nbr) * len(block) > 4096 and nbr.shape[-1] > 1:
            # No (rows, N2, d) tensor; the exact differences, not |a|² + |b|² - 2ab, which cancels.
            distance = torch.cdist(block, nbr, compute_mode='donot_use_mm_for_euclid_dist')
        else:
            distance = torch.linalg.vector_norm(block.unsqueeze(-2) - nbr, ord=ord, dim=-1)
        parts.append(distance.topk(k, dim=-1, largest=largest, sorted=sorted).indices)
    return torch.cat(parts) if parts else torch.empty(0, k, dtype=torch.long, device=ref.device)


class PointTree:
    """A k-d tree over points (N, d) on the CPU, for many queries.

    SciPy's cKDTree; it is loaded with the first tree.
    """

    def __init__(self, points: Tensor):
        from scipy.spatial import cKDTree
        self._tree = cKDTree(points.detach().numpy(), balanced_tree=False, compact_nodes=False)

    def query(self, points: Tensor, k: int = 1, ord: float = 2) -> Tensor:
        """Indices (M, k) of the k points nearest to each of `points` (M, d), nearest first."""
        _, indices = self._tree.query(points.detach().numpy(), k=[*range(1, k + 1)], p=ord)
        return torch.from_numpy(indices)

    def count(self, points: Tensor, radius: float, ord: float = 2) -> Tensor:
        """How many points of the tree lie within `radius` of each of `points` (M, d): (M,)."""
        counts = self._tree.query_ball_point(points.detach().numpy(), radius, p=ord, return_length=True)
        return torch.from_numpy(counts)
