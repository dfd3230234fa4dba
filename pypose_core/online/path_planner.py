"""Paths for a robot in the plane: told of a map and asked for a way, it answers with poses or a reason."""
from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pypose_core.geometry import DistanceField
from pypose_core.graph import LevenbergMarquardt
from pypose_core.lie.groups import SE3
from pypose_core.planning import Plan, PlanConfig, Planner, PlanVerdict

LEAST_MAP = 2       # cells along each axis
MARGIN = 0.1        # of a cell, by which a moved goal has more room than it must: the ends of a plan are soft


@dataclass(frozen=True)
class PathPlannerConfig:
    """What paths are to be like, and how a map is read."""

    plan: PlanConfig = field(default_factory=PlanConfig)
    """Of the robot and its trajectory."""
    occupied: int = 65
    """Cells from this on are obstacles, as in nav_msgs/OccupancyGrid."""
    allow_unknown: bool = True
    """Whether the way may lead over cells of which nothing is known (-1)."""
    map_cells: int = 4_000_000
    """Of the largest map."""
    spacing: float = 0.05
    """Metres between the poses of a path."""
    time_limit: float = 2.0
    """Seconds of one optimization, after which what was found by then is taken."""

    def __post_init__(self):
        for name in ('spacing', 'time_limit', 'map_cells'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)}')


@dataclass(frozen=True)
class PlannedPath:
    """An answer."""

    poses: NDArray[np.float64]
    """(N, 7) [t, q] in the map's frame, turned to where the way leads, the last as the goal; none without a plan."""
    verdict: PlanVerdict
    status: str
    """The verdict as a sentence with numbers."""


class PathPlanner:
    """The newest map, and plans on it.

        planner = PathPlanner(PathPlannerConfig(plan=PlanConfig(radius=0.25)))
        planner.set_map(cells, 0.05, (x, y, heading))
        path = planner.plan(start, goal, tolerance=0.2)
    """

    def __init__(self, config: PathPlannerConfig | None = None):
        # What the distance transform needs: half a second to load, which the first request shall not wait for.
        importlib.import_module('scipy.ndimage')
        self.config = config or PathPlannerConfig()
        self._cells: NDArray | None = None
        self._field: DistanceField | None = None

    def set_map(self, cells: NDArray, resolution: float, origin: tuple[float, float, float]) -> str:
        """Take a grid (Y, X), with x, y, heading of its first corner in its frame; a sentence where it is refused."""
        cells = np.asarray(cells)
        if cells.ndim != 2 or min(cells.shape) < LEAST_MAP:
            return f'it has {" x ".join(map(str, cells.shape))} cells'
        if not (resolution > 0 and np.isfinite([resolution, *origin]).all()):
            return 'its resolution is not positive or its origin is not finite'
        if cells.size > self.config.map_cells:
            return f'it has {cells.size} cells, room is for {self.config.map_cells}'
        self._cells, self._resolution, self._origin = cells, float(resolution), np.array(origin, float)
        self._field = None      # distances are computed for who asks for a plan: maps may come often
        return ''

    def clear_map(self) -> None:
        """Nothing is known any more."""
        self._cells = self._field = None

    def plan(self, start: NDArray, goal: NDArray, *, tolerance: float = 0.0) -> PlannedPath:
        """A path between poses (3,) x, y, heading in the map's frame.

        Args:
            tolerance: metres by which the goal may be moved where it is too near to an obstacle.
        """
        if self._cells is None:
            return _refused(PlanVerdict.NO_MAP)
        start, goal = np.asarray(start, float), np.asarray(goal, float)
        if not (np.isfinite(start).all() and np.isfinite(goal).all() and math.isfinite(tolerance)):
            return _refused(PlanVerdict.NOT_FINITE)
        distances = self._distances()
        ends = [self._in_grid(pose[:2]) for pose in (start, goal)]
        ends[1] = self._relaxed(ends[1], tolerance)
        plan = Planner(distances, self.config.plan)(*ends, solver=LevenbergMarquardt(
            max_iterations=60, tolerance=1e-4, time_limit=self.config.time_limit))
        if not plan.success:
            return _refused(plan.verdict, plan.status)
        return PlannedPath(self._poses(plan, goal[2]), plan.verdict, plan.status)

    def _distances(self) -> DistanceField:
        if self._field is None:
            assert self._cells is not None      # plan() asks only with a map
            occupied = self._cells >= self.config.occupied
            if not self.config.allow_unknown:
                occupied |= self._cells < 0
            self._field = DistanceField.from_occupancy(torch.from_numpy(occupied), resolution=self._resolution)
        return self._field

    def _in_grid(self, point: NDArray) -> Tensor:
        """(2,) from the map's frame to that of the grid, whose corner is its origin."""
        c, s = math.cos(self._origin[2]), math.sin(self._origin[2])
        return torch.from_numpy(np.array([[c, s], [-s, c]]) @ (point - self._origin[:2]))

    def _relaxed(self, goal: Tensor, tolerance: float) -> Tensor:
        """The goal, or the nearest centre of a cell with room for the robot that is no farther away than allowed."""
        distances, radius = self._distances(), self.config.plan.radius
        if tolerance <= 0 or not distances.contains(goal) or distances(goal) > radius:
            return goal
        free = (distances.values > radius + MARGIN * distances.resolution).nonzero().flip(-1)
        centres = distances.origin + (free + 0.5) * distances.resolution
        away = (centres - goal).norm(dim=-1)
        return centres[away.argmin()] if len(away) and away.min() <= tolerance else goal

    def _poses(self, plan: Plan, heading: float) -> NDArray[np.float64]:
        x, y, turn = self._origin
        T_map_grid = SE3(torch.tensor([x, y, 0, 0, 0, math.sin(turn / 2), math.cos(turn / 2)], dtype=torch.float64))
        poses = (T_map_grid @ SE3(plan.poses(self.config.spacing))).tensor().numpy()
        poses[-1, 3:] = 0.0, 0.0, math.sin(heading / 2), math.cos(heading / 2)
        return poses


def _refused(verdict: PlanVerdict, status: str = '') -> PlannedPath:
    return PlannedPath(np.zeros((0, 7)), verdict, status or str(verdict))
