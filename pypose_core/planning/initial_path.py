"""Polylines from a start to a goal: what an optimizer of trajectories begins with."""
from __future__ import annotations

import importlib.util
import math
import threading
from itertools import product

import numpy as np
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.geometry.distance_field import DistanceField

_one_search_with_ompl = threading.Lock()


def straight_path(field: DistanceField, start: Tensor, goal: Tensor, radius: float) -> Tensor:
    """The straight line (2, d), whatever is in its way."""
    return torch.stack([start, goal])


def grid_path(field: DistanceField, start: Tensor, goal: Tensor, radius: float) -> Tensor | None:
    """The shortest way (K, d) over cells where the field is above `radius`, or None: complete to the grid's resolution.

    Cells are neighbours over edges and corners. A cell with less room than twice the radius costs up to three times
    its length, so that the way prefers the middle of narrow passages.
    """
    flat = torch.arange(field.values.numel()).reshape(field.values.shape)
    number = torch.where(field.values > radius, flat, -1).numpy()
    first, last = (_nearest_free(field, number, point) for point in (start, goal))
    if first is None or last is None:
        return None
    scale = max(radius, field.resolution)
    if native.available:
        way = torch.ops.pypose.grid_search(field.values.detach().double(), radius, scale, first, last).numpy()
    else:
        way = dijkstra_search(field.values.detach().numpy(), radius, scale, first, last)
    if not len(way):
        return None
    cells = np.stack(np.unravel_index(way, field.values.shape)[::-1], -1)
    centres = field.origin + (torch.from_numpy(cells).to(field.origin) + 0.5) * field.resolution
    return torch.cat([start[None], centres[1:-1].to(start), goal[None]])


def dijkstra_search(values: np.ndarray, radius: float, scale: float, first: int, last: int) -> np.ndarray:
    """What the native `grid_search` does, by scipy, which holds up other threads of Python meanwhile.

    Args:
        values: distances (Y, X) or (Z, Y, X).
        radius: cells above it are free.
        scale: metres beyond the radius that are plenty.
        first, last: flat indices of two free cells.

    Returns:
        Flat indices (K,) from the first to the last; none where there is no way.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra
    free = np.flatnonzero(values > radius)
    number = np.full(values.shape, -1)
    number.flat[free] = np.arange(len(free))
    room = np.clip((values - radius) / scale, 0, 1)
    rows, columns, lengths = [], [], []
    for offset in _half_of_the_neighbours(values.ndim):
        here = tuple(slice(max(0, -o), min(n, n - o)) for o, n in zip(offset, values.shape))
        there = tuple(slice(max(0, o), min(n, n + o)) for o, n in zip(offset, values.shape))
        a, b = number[here].ravel(), number[there].ravel()
        both = (a >= 0) & (b >= 0)
        cost = math.hypot(*offset) * (3 - room[here].ravel() - room[there].ravel())
        rows.append(a[both])
        columns.append(b[both])
        lengths.append(cost[both])
    graph = coo_array((np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns))),
                      shape=(len(free), len(free))).tocsr()
    first, last = int(number.flat[first]), int(number.flat[last])
    _, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    way = [last]
    while way[-1] != first:
        if before[way[-1]] < 0:
            return np.zeros(0, np.int64)
        way.append(before[way[-1]])
    return free[way[::-1]]


def _half_of_the_neighbours(axes: int) -> list[tuple[int, ...]]:
    return [offset for offset in product((-1, 0, 1), repeat=axes) if offset > (0,) * axes]


def _nearest_free(field: DistanceField, number: np.ndarray, point: Tensor) -> int | None:
    """The number of the free cell that holds the point, or of a free neighbour of that cell."""
    cell = torch.floor((point - field.origin) / field.resolution).long().flip(-1).tolist()
    around = tuple(slice(max(0, c - 1), c + 2) for c in cell)
    if any(not 0 <= c < n for c, n in zip(cell, number.shape)):
        return None
    if number[tuple(cell)] >= 0:
        return int(number[tuple(cell)])
    found = number[around]
    return int(found[found >= 0][0]) if (found >= 0).any() else None


def require_ompl() -> None:
    """Raise an ImportError that tells what to do where OMPL is not installed."""
    if importlib.util.find_spec('ompl') is None:
        raise ImportError("the path by sampling comes from OMPL, which is not installed: pip install 'ompl>=2', or use "
                          "another start, such as 'grid'")


def sampled_path(field: DistanceField, start: Tensor, goal: Tensor, radius: float, *, seconds: float = 1.0,
                 seed: int = 1) -> Tensor | None:
    """A way (K, d) found by OMPL's RRTConnect and shortened, or None where none was found within `seconds`.

    The same seed gives the same way again as long as the time suffices. OMPL has one source of seeds for
    the whole process, so two searches at a time wait for each other.

    Raises:
        ImportError: OMPL is not installed (`pip install 'ompl>=2'`).
        ValueError: seed is not positive; OMPL takes zero for a seed by the clock.
    """
    if seed < 1:
        raise ValueError(f'seed must be a positive number, got {seed}')
    require_ompl()
    from ompl import base, geometric, util
    with _one_search_with_ompl:     # all of it: most of OMPL's objects take a seed when they are made
        loud = util.getLogLevel()
        util.setLogLevel(util.LogLevel.LOG_NONE)    # it calls every seed after the first an error
        try:
            util.RNG.setSeed(seed)
            setup = _setup(base, geometric, field, start, goal, radius)
            setup.solve(seconds)
            if not setup.haveExactSolutionPath():
                return None
            setup.simplifySolution()
        finally:
            util.setLogLevel(loud)
        states = setup.getSolutionPath().getStates()
        return torch.tensor([[state[axis] for axis in range(len(start))] for state in states], dtype=start.dtype)


def _setup(base, geometric, field: DistanceField, start: Tensor, goal: Tensor, radius: float):
    """The problem as OMPL's modules `base` and `geometric` have it."""
    d, size = len(start), field.resolution * torch.tensor(field.values.shape[::-1])
    space, bounds = base.RealVectorStateSpace(d), base.RealVectorBounds(d)
    for axis in range(d):
        bounds.setLow(axis, float(field.origin[axis]))
        bounds.setHigh(axis, float(field.origin[axis] + size[axis]))
    space.setBounds(bounds)

    def position(state) -> list[float]:
        return [state[axis] for axis in range(d)]

    def state_at(point: Tensor):
        state = space.allocState()
        for axis in range(d):
            state[axis] = float(point[axis])
        return state

    def free(points: Tensor) -> bool:
        return bool((field(points) > radius).all())

    class Segments(base.MotionValidator):
        """Looks at all places of a segment at once; OMPL's own asks Python for each of them."""

        def checkMotion(self, a, b) -> bool:
            first, last = torch.tensor([position(a), position(b)], dtype=field.values.dtype)
            parts = 1 + int((last - first).norm() / field.resolution)
            return free(torch.lerp(first, last, torch.arange(1, parts + 1).to(first).unsqueeze(-1) / parts))

    setup = geometric.SimpleSetup(space)
    space_information = setup.getSpaceInformation()
    setup.setStateValidityChecker(lambda state: free(torch.tensor(position(state), dtype=field.values.dtype)))
    space_information.setMotionValidator(Segments(space_information))
    setup.setStartAndGoalStates(state_at(start), state_at(goal))
    setup.setPlanner(geometric.RRTConnect(space_information))
    return setup
