"""A way around what stands on the path: the side to pass on, which descent alone cannot choose.

Dynamic programming over offsets to the left and right of the path, at stations along it:

    min Σ_i  (o_i / width)² + 20 ((o_{i+1} - o_i) / spacing)² + nearness(o_i),   o_0 where the robot is,

forbidden where an obstacle is nearer than the radius. In the spirit of Werling, Ziegler, Kammel and Thrun, "Optimal
trajectory generation for dynamic street scenarios in a Frenet frame" (2010), with offsets alone.
"""
import numpy as np
from numpy.typing import NDArray

from pypose_core.control import LookupTable
from pypose_core.online.path_tracking.path import ReferencePath

SPACING, STEP, WIDTH = 0.15, 0.05, 1.5      # m between stations, between offsets, and the largest offset
OFFSETS = np.arange(-round(WIDTH / STEP), round(WIDTH / STEP) + 1) * STEP
STEEPEST = 1.2                              # offset per length
BLOCKED = 1e6
SMOOTHING = np.array([1, 2, 3, 2, 1]) / 9


def _change() -> NDArray:
    """(offsets, offsets) cost of going from the second to the first within one spacing."""
    slope = (OFFSETS[:, None] - OFFSETS) / SPACING
    return np.where(np.abs(slope) <= STEEPEST, 20 * SPACING * slope ** 2, np.inf)


CHANGE = _change()


def detour(path: ReferencePath, s: float, offset: float, ahead: float, table: LookupTable, *, radius: float,
           clearance: float) -> tuple[ReferencePath, float] | None:
    """The way from here to `ahead`, and how far along it one can go; None where the path itself is clear.

    Args:
        s, offset: where the robot is. ahead: m to look. radius, clearance: m.
    """
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
    came = np.zeros((len(stations), len(OFFSETS)), int)
    for k in range(1, len(stations)):
        total = best[None] + CHANGE
        came[k] = total.argmin(1)
        best = total[np.arange(len(OFFSETS)), came[k]] + cost[k]
    j = int(best.argmin())
    chosen = np.empty(len(stations), int)
    for k in range(len(stations) - 1, -1, -1):
        chosen[k] = j
        j = came[k, j]
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
