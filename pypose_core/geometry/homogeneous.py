"""Cartesian and homogeneous coordinates."""
from __future__ import annotations

import torch
from torch import Tensor


def cart2homo(coordinates: Tensor) -> Tensor:
    """Append a one: (..., n) -> (..., n + 1)."""
    return torch.cat([coordinates, torch.ones_like(coordinates[..., :1])], -1)


def homo2cart(coordinates: Tensor) -> Tensor:
    """Divide by the last coordinate: (..., n + 1) -> (..., n).

    Points at infinity come out huge and finite where they can: their last coordinate counts as the smallest number.
    """
    last = coordinates[..., -1:]
    tiny = torch.finfo(coordinates.dtype).tiny
    return coordinates[..., :-1] / torch.where(last < 0, last.clamp(max=-tiny), last.clamp(min=tiny))
