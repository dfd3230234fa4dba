"""Signed distances to obstacles on a grid, interpolated and differentiable."""
from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor


class DistanceField:
    """d(x): metres from x to the nearest obstacle, negative within one, from samples at the centres of a grid's cells.

    Between the centres d is multilinear, continuous with a gradient that is constant only along each axis within a
    cell; beyond the outermost centres it keeps the value of the nearest point between them. Differentiable by the
    points and by `values`, batched, and usable under `torch.func`.

    Args:
        values: distances in metres, (Y, X) or (Z, Y, X): the last axis is x, as in nav_msgs/OccupancyGrid, with at
            least two cells along each.
        resolution: edge of a cell in metres.
        origin: x, y(, z) in metres of the corner of the first cell, in the frame of the queried points; default zero.
    """

    def __init__(self, values: Tensor, *, resolution: float, origin: Tensor | None = None):
        if values.dim() not in (2, 3) or min(values.shape) < 2:
            raise ValueError(f'values must be (Y, X) or (Z, Y, X), two cells along each or more, got '
                             f'{tuple(values.shape)}')
        if not resolution > 0:
            raise ValueError(f'the resolution must be positive, got {resolution}')
        self.values, self.resolution = values, float(resolution)
        self.origin = values.new_zeros(values.dim()) if origin is None else \
            torch.as_tensor(origin, dtype=values.dtype, device=values.device)
        if self.origin.shape != (values.dim(),):
            raise ValueError(f'the origin must be ({values.dim()},), got {tuple(self.origin.shape)}')
        self._cells = torch.tensor(values.shape[::-1], device=values.device)
        strides = torch.tensor(values.shape[:0:-1], device=values.device).cumprod(0)
        self._strides = torch.cat([strides.new_ones(1), strides])
        self._corner = torch.tensor([*product((False, True), repeat=values.dim())], device=values.device)

    @classmethod
    def from_occupancy(cls, occupied: Tensor, *, resolution: float, origin: Tensor | None = None,
                       limit: float | None = None, dtype: torch.dtype = torch.float64) -> DistanceField:
        """The exact Euclidean distance transform of a grid.

        Args:
            occupied: bool (Y, X) or (Z, Y, X).
            resolution, origin: as above.
            limit: distances are cut at ± this many metres; default the grid's diagonal.
            dtype: of the field.

        The surface is taken to run midway between the centres of a free and an occupied cell.

        Source: Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, 2012.
        """
        from scipy.ndimage import distance_transform_edt
        grid = np.asarray(torch.as_tensor(occupied, dtype=torch.bool).cpu())
        diagonal = float(np.linalg.norm(grid.shape))
        if grid.any() and not grid.all():
            cells = np.where(grid, 0.5 - distance_transform_edt(grid), distance_transform_edt(~grid) - 0.5)
        else:
            cells = np.full(grid.shape, -diagonal if grid.any() else diagonal)
        limit = diagonal * resolution if limit is None else limit
        values = torch.from_numpy(cells * resolution).clamp(-limit, limit).to(dtype)
        return cls(values, resolution=resolution, origin=origin)

    def __call__(self, points: Tensor) -> Tensor:
        """d (...,) at points (..., 2) or (..., 3) in metres."""
        values, weights, _ = self._corners(points)
        return (weights.prod(-1) * values).sum(-1)

    def contains(self, points: Tensor) -> Tensor:
        """Which points (..., 2) or (..., 3) lie within the grid: bool (...,)."""
        cells = (points - self.origin) / self.resolution
        return ((cells >= 0) & (cells <= self._cells)).all(-1)

    def with_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """d (...,) and ∂d/∂x (..., 2) or (..., 3) at points of the same shape; zero along an axis outside the grid."""
        values, weights, inside = self._corners(points)
        slopes = []
        for axis, sign in enumerate(self._corner.mT * 2 - 1):
            others = [weights[..., k] for k in range(len(self._cells)) if k != axis]
            slopes.append((torch.stack(others, -1).prod(-1) * sign.to(values.dtype) * values).sum(-1))
        return (weights.prod(-1) * values).sum(-1), torch.stack(slopes, -1) * inside / self.resolution

    def _corners(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (..., 2ᵈ) at the centres about each point, their weights (..., 2ᵈ, d) by axis, and which axes (..., d)
        of the point are within the grid."""
        if points.shape[-1] != self.values.dim():
            raise ValueError(f'a grid of {self.values.dim()} axes takes points (..., {self.values.dim()}), got '
                             f'{tuple(points.shape)}')
        place = (points - self.origin) / self.resolution - 0.5
        last = (self._cells - 1).to(place.dtype)
        held = torch.minimum(place.clamp(min=0), last)
        lowest = torch.minimum(held.detach().floor(), last - 1)
        fraction = (held - lowest).unsqueeze(-2)
        index = ((lowest.long().unsqueeze(-2) + self._corner) * self._strides).sum(-1)
        return self.values.reshape(-1)[index], torch.where(self._corner, fraction, 1 - fraction), held == place
