"""A way around what stands on the path: the side to pass on, which descent alone cannot choose.

Dynamic programming over offsets to the left and right of the path, at stations along it:

    min Σ_i  (o_i / width)² + 20 ((o_{i+1} - o_i) / spacing)² + nearness(o_i),   o_0 where the robot is,

forbidden where an obstacle is nearer than the radius. In the spirit of Werling, Ziegler, Kammel and Thrun, "Optimal
trajectory generation for dynamic street scenarios in a Frenet frame" (2010), with offsets alone.
"""
import math
from typing import Any

import numpy as np
import torch

from pypose_core import native
from pypose_core.control import LookupTable
from pypose_core.online.path_tracking.path import ReferencePath

SPACING, STEP, WIDTH = 0.15, 0.05, 1.5      # m between stations, between offsets, and the largest offset
OFFSETS = np.arange(-round(WIDTH / STEP), round(WIDTH / STEP) + 1) * STEP
STEEPEST = 1.2                              # offset per length
BLOCKED = 1e6
SMOOTHING = np.array([1, 2, 3, 2, 1]) / 9
_cheapest_way: Any = torch._C._jit_get_operation('pypose::cheapest_way')[0] if native.available else None


def _change() -> torch.Tensor:
    """Cost of going over by each number of steps, to the right as far as to the left, within one spacing."""
    most = math.floor(STEEPEST * SPACING / STEP + 1e-9)
    slope = np.arange(-most, most + 1) * STEP / SPACING
    return torch.from_numpy(20 * SPACING * slope ** 2)


CHANGE = _change()


def detour(path: ReferencePath, s: float, offset: float, ahead: float, table: LookupTable, *, radius: float,
           clearance: float) -> tuple[ReferencePath, float] | None:
    """The way from here to `ahead`, and how far along it one can go; None where the path itself is clear.

    Args:
        s, offset: where the robot is. ahead: m to look. radius, clearance: m.
    """
    if not native.available:
        raise RuntimeError(f'the way around obstacles needs the native kernels: {native.status}')
    stations = np.arange(s, min(s + ahead, path.length) + SPACING, SPACING)
    points, headings, _ = path.sample(stations)
    side = np.stack([-np.sin(headings), np.cos(headings)], 1)
    if table.at(points).min() >= radius + clearance:
        return None
    distance = table.at(points[:, None] + OFFSETS[:, None] * side[:, None])
    cost = SPACING * (OFFSETS / 0.5) ** 2 + SPACING * 60 * (np.maximum(radius + clearance - distance, 0)
                                                           / clearance) ** 2
    margin = radius + 0.25 * clearance
    cost = np.where(distance < margin, BLOCKED * (1 + margin - distance), cost)
    best = 0.2 * BLOCKED * np.abs(OFFSETS - np.clip(offset, -WIDTH, WIDTH))
    chosen = _cheapest_way(torch.from_numpy(cost), torch.from_numpy(best), CHANGE).numpy()
    offsets = OFFSETS[chosen]
    offsets[0] = offset
    offsets = np.convolve(np.pad(offsets, 2, mode='edge'), SMOOTHING, 'valid')
    heading = path.goal[2] if stations[-1] >= path.length else headings[-1]
    way = points + offsets[:, None] * side
    way = ReferencePath(np.concatenate([way, np.append(headings[:-1], heading)[:, None]], 1))
    free = distance[np.arange(len(stations)), chosen] >= radius
    free[0] = True
    if free.all():
        return way, way.length
    return way, way.project(points[np.argmin(free)] + offsets[np.argmin(free)] * side[np.argmin(free)])[0]
