"""Filters of point clouds: by neighbours, at random, by voxels."""
from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from pypose_core.geometry.neighbors import BLOCK, TREE_FROM, PointTree, knn, take


def _coordinates(points: Tensor, pdim: int | None) -> Tensor:
    pdim = points.shape[-1] if pdim is None else pdim
    if points.shape[-1] < pdim:
        raise ValueError(f'points have {points.shape[-1]} numbers, fewer than pdim = {pdim}')
    return points[..., :pdim]


def _one_cloud(points: Tensor) -> None:
    if points.dim() != 2:
        raise ValueError(f'one point cloud (N, D) is wanted, got {tuple(points.shape)}: batches would differ in size')


def _neighbors_within(x: Tensor, radius: float, ord) -> Tensor:
    """How many other points lie within the radius of each point of x (N, d)."""
    if x.device.type == 'cpu' and len(x) >= TREE_FROM and isinstance(ord, (int, float)) and ord >= 1:
        return PointTree(x).count(x, radius, ord) - 1
    counts = [(torch.linalg.vector_norm(block.unsqueeze(-2) - x, ord=ord, dim=-1) <= radius).sum(-1)
              for block in x.split(max(1, BLOCK // max(1, len(x))))]
    return torch.cat(counts) - 1 if counts else torch.zeros(0, dtype=torch.long, device=x.device)


def nbr_filter(points: Tensor, nbr: int, radius: float, pdim: int | None = None, ord: int | float = 2,
               return_mask: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """The points that have at least `nbr` others within `radius`.

    Args:
        points: (N, D), the coordinates first.
        pdim: number of coordinates; default D.
        ord: order of the norm.
        return_mask: also return which points are kept (N,).

    Returns:
        points (M, D), and the mask if asked for.
    """
    _one_cloud(points)
    mask = _neighbors_within(_coordinates(points, pdim).detach(), radius, ord) >= nbr
    return (points[mask], mask) if return_mask else points[mask]


def random_filter(points: Tensor, num: int) -> Tensor:
    """`num` points drawn without replacement, the same of each cloud of a batch: (..., N, D) -> (..., num, D)."""
    if not 0 <= num <= points.shape[-2]:
        raise ValueError(f'num must be from 0 to the number of points {points.shape[-2]}, got {num}')
    return points[..., torch.randperm(points.shape[-2], device=points.device)[:num], :]


def voxel_filter(points: Tensor, voxel: Sequence[float], random: bool = False) -> Tensor:
    """One point for each occupied voxel: the mean of its points, or one of them at random.

    Args:
        points: (N, D), the coordinates first.
        voxel: size of a voxel along each coordinate.
        random: choose one of the points instead of their mean.

    Returns:
        (M, D), M the number of occupied voxels, in their lexicographic order. Voxels start at the cloud's least
        coordinates.
    """
    _one_cloud(points)
    d = len(voxel)
    x = _coordinates(points, d).detach()
    if not all(size > 0 for size in voxel):
        raise ValueError(f'sizes of a voxel must be positive, got {list(voxel)}')
    if len(points) == 0:
        return points
    size = torch.tensor(voxel, dtype=points.dtype, device=points.device)
    cells = ((x - x.amin(0)) / size).floor().long()
    # One number for each cell, in lexicographic order: sorting those is far faster than sorting rows.
    extent = cells.amax(0) + 1
    if extent.double().prod() >= 2 ** 62:
        raise ValueError(f'voxels of {list(voxel)} make too many cells for a cloud of this extent: {extent.tolist()}')
    number = cells[:, 0]
    for i in range(1, d):
        number = number * extent[i] + cells[:, i]
    _, inverse, counts = torch.unique(number, return_inverse=True, return_counts=True)
    if random:
        order = inverse.argsort()
        first = counts.cumsum(0) - counts
        chosen = (torch.rand(len(counts), dtype=torch.float64, device=points.device) * counts).long()
        return points[order[first + chosen.minimum(counts - 1)]]
    total = torch.zeros(len(counts), points.shape[-1], dtype=points.dtype, device=points.device)
    return total.index_add(0, inverse, points) / counts.unsqueeze(-1)


def knn_filter(points: Tensor, k: int, pdim: int | None = None, radius: float | None = None,
               ord: int | float = 2) -> Tensor:
    """Each point averaged with its k nearest neighbours.

    Args:
        points: (..., N, D), the coordinates first; with a radius (N, D).
        k: number of neighbours.
        pdim: number of coordinates; default D.
        radius: leave out points with fewer than k neighbours within it; default none are left out.
        ord: order of the norm.

    Returns:
        (..., M, D), M <= N.
    """
    if radius is not None:
        points = cast(Tensor, nbr_filter(points, k, radius, pdim, ord))
    if points.dim() < 2:
        raise ValueError(f'points must be (..., N, D), got {tuple(points.shape)}')
    if points.shape[-2] == 0:
        return points
    x = _coordinates(points, pdim).detach()
    return take(points, knn(x, x, k + 1, ord).indices).mean(-2)
