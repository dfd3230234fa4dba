"""Plans around obstacles: a search for the way, then the smoothest trajectory near it that keeps its distance."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.geometry.distance_field import DistanceField
from pypose_core.geometry.spline import HermiteSpline
from pypose_core.graph import Euclidean, FactorGraph, GraphResult, LevenbergMarquardt, Prior
from pypose_core.planning.factors import Obstacle, Smoothness, interpolation
from pypose_core.planning.initial_path import grid_path, require_ompl, sampled_path, straight_path
from pypose_core.planning.verdict import PlanVerdict

STARTS = {'grid': grid_path, 'ompl': sampled_path, 'straight': straight_path}
END_SIGMA = 1e-3
"""Metres and m/s by which the ends may be missed."""


@dataclass(frozen=True)
class PlanConfig:
    """What a plan is to be like."""

    radius: float = 0.2
    """Of the robot, metres: at least so far from every obstacle."""
    clearance: float = 0.15
    """Metres more, that it keeps where there is room."""
    speed: float = 0.5
    """m/s along the way that the search found; sets the duration."""
    interval: float = 0.5
    """Seconds between states of the trajectory. Between them it is a cubic."""
    checks: int = 4
    """Places in each interval at which the distance is looked at."""
    acceleration: float = 0.3
    """Density of the acceleration, m/s^1.5: smaller is smoother."""
    obstacle_sigma: float = 0.03
    """Metres of clearance that count as much as one standard deviation of the motion."""
    start: str = 'grid'
    """Where the way comes from: 'grid', the shortest way over free cells; 'ompl', sampling; 'straight'."""

    def __post_init__(self):
        if self.start not in STARTS:
            raise ValueError(f'start must be one of {sorted(STARTS)}, not {self.start!r}')
        if self.start == 'ompl':
            require_ompl()
        for name in ('speed', 'interval', 'acceleration', 'obstacle_sigma', 'checks'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)}')


@dataclass(frozen=True)
class PlanGraph:
    """The trajectory's graph: one set of states 'state' [p, v], and its factors, for layers that learn their costs."""

    graph: FactorGraph
    smoothness: Smoothness
    obstacles: Obstacle
    ends: Prior
    interval: float
    """Seconds between states."""


@dataclass(frozen=True)
class Plan:
    """A trajectory p(t), 0 <= t <= duration, and what is to be said of it."""

    positions: Tensor
    """(N, d) at the states, metres."""
    velocities: Tensor
    """(N, d) m/s."""
    interval: float
    """Seconds between states."""
    distance: float
    """Metres that are left to the nearest obstacle beside the robot's radius; negative: it would touch."""
    verdict: PlanVerdict
    status: str
    """The verdict as a sentence with numbers."""
    result: GraphResult | None = None

    @property
    def success(self) -> bool:
        """Whether the trajectory keeps the robot's radius everywhere."""
        return self.verdict.accepted

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.interval * (len(self.positions) - 1)

    @property
    def curve(self) -> HermiteSpline:
        """p(t), and by its `order` the velocity and acceleration."""
        times = self.interval * torch.arange(len(self.positions), dtype=self.positions.dtype)
        return HermiteSpline(self.positions, times, self.velocities)

    def poses(self, spacing: float = 0.05) -> Tensor:
        """Poses (M, 7) [x, y, z, quaternion] about `spacing` metres apart, turned to where the way leads."""
        fine = self.curve(torch.linspace(0, self.duration, 20 * len(self.positions), dtype=self.positions.dtype))
        along = torch.cat([fine.new_zeros(1), fine.diff(dim=0).norm(dim=-1).cumsum(0)])
        count = max(2, int(torch.ceil(along[-1] / spacing)) + 1)
        wanted = torch.linspace(0, float(along[-1]), count, dtype=fine.dtype)
        i = torch.searchsorted(along, wanted).clamp(1, len(along) - 1)
        part = ((wanted - along[i - 1]) / (along[i] - along[i - 1]).clamp_min(1e-12)).unsqueeze(-1)
        points = fine[i - 1] + part * (fine[i] - fine[i - 1])
        ahead = points.diff(dim=0)
        ahead = torch.cat([ahead, ahead[-1:]])
        half = torch.atan2(ahead[:, 1], ahead[:, 0]) / 2
        zero = torch.zeros_like(half)
        third = points[:, 2:] if points.shape[1] == 3 else zero[:, None]
        return torch.cat([points[:, :2], third, torch.stack([zero, zero, half.sin(), half.cos()], -1)], -1)


class Planner:
    """Plans in the plane or in space for a robot that is a disc or a ball.

        field = DistanceField.from_occupancy(occupied, resolution=0.05, origin=origin)
        plan = Planner(field, PlanConfig(radius=0.3))(start, goal)

    Args:
        field: distances to obstacles.
        config: PlanConfig.

    Source: Mukadam et al., Continuous-time Gaussian process motion planning via probabilistic inference, IJRR 2018.
    """

    def __init__(self, field: DistanceField, config: PlanConfig | None = None):
        self.field, self.config = field, config or PlanConfig()

    def __call__(self, start: Tensor, goal: Tensor, *, start_velocity: Tensor | None = None,
                 goal_velocity: Tensor | None = None, solver: LevenbergMarquardt | None = None) -> Plan:
        """The plan from start to goal (d,), at rest at both where no velocity (d,) is given."""
        start, goal = (torch.as_tensor(z, dtype=torch.float64) for z in (start, goal))
        for name, point in (('start', start), ('goal', goal)):
            if point.shape != (self.field.values.dim(),) or not bool(point.isfinite().all()):
                raise ValueError(f'the {name} must be {self.field.values.dim()} finite coordinates, got {point}')
            if not self.field.contains(point):
                return self._failure(start, PlanVerdict[f'{name.upper()}_OUTSIDE'])
            room = float(self.field(point)) - self.config.radius
            if room <= 0:
                return self._failure(start, PlanVerdict[f'{name.upper()}_OCCUPIED'],
                                     f'the {name} is {-room:.2f} m too near to an obstacle', room)
        way = STARTS[self.config.start](self.field, start, goal, self.config.radius)
        if way is None:
            return self._failure(start, PlanVerdict.NO_WAY)
        built, weight = self.build(way, start_velocity, goal_velocity), 1.0
        for _ in range(4):
            result = built.graph.optimize(solver)
            plan = self._plan(built, result)
            if plan.success or not bool(result.value['state'].isfinite().all()):
                break
            weight *= 10    # the costs are soft: where smoothness has won, obstacles count more
            built.obstacles.take('weight', torch.full((len(built.obstacles),), weight, dtype=torch.float64))
        return plan

    def build(self, way: Tensor, start_velocity: Tensor | None = None,
              goal_velocity: Tensor | None = None) -> PlanGraph:
        """The graph whose optimum is the plan, started along a polyline (K, d).

        As a layer it is differentiable by its costs:

            built = planner.build(way)
            layer = SolverLayer(built.graph, [(built.obstacles, 'weight'), (built.smoothness, 'weight')])
            states = layer(obstacle_weights, smoothness_weights)['state']
        """
        config, d = self.config, way.shape[-1]
        length = float(way.diff(dim=0).norm(dim=-1).sum())
        steps = max(2, round(length / config.speed / config.interval))
        positions = _along(way, steps + 1)
        velocities = torch.gradient(positions, spacing=config.interval, dim=0)[0]
        for k, given in ((0, start_velocity), (-1, goal_velocity)):
            velocities[k] = 0 if given is None else torch.as_tensor(given, dtype=torch.float64)
        states = torch.cat([positions, velocities], -1)
        graph = FactorGraph()
        graph.add_variables('state', Euclidean(2 * d), states)
        pairs = torch.stack([torch.arange(steps), torch.arange(1, steps + 1)], -1)
        dt = torch.full((steps,), config.interval, dtype=torch.float64)
        smoothness = Smoothness('state', pairs, dt, config.acceleration, d)
        parts = torch.arange(config.checks, dtype=torch.float64) / config.checks
        s, between = parts.repeat(steps), pairs.repeat_interleave(config.checks, 0)
        obstacles = Obstacle('state', between, interpolation(dt.repeat_interleave(config.checks), s), self.field,
                             config.radius + config.clearance,
                             information=torch.eye(1, dtype=torch.float64) / config.obstacle_sigma ** 2,
                             weight=torch.ones(len(s), dtype=torch.float64))
        ends = Prior('state', torch.tensor([0, steps]), states[[0, -1]],
                     information=torch.eye(2 * d, dtype=torch.float64) / END_SIGMA ** 2)
        for factors in (smoothness, obstacles, ends):
            graph.add(factors)
        return PlanGraph(graph, smoothness, obstacles, ends, config.interval)

    def _plan(self, built: PlanGraph, result: GraphResult) -> Plan:
        positions, velocities = result.value['state'].chunk(2, -1)
        plan = Plan(positions, velocities, built.interval, 0.0, PlanVerdict.TOO_NEAR, '', result)
        count = 10 * self.config.checks * len(positions)
        distance = float(self.field(plan.curve(torch.linspace(0, plan.duration, count, dtype=torch.float64))).min())
        room = distance - self.config.radius
        status = (f'{plan.duration:.1f} s, {room:.2f} m beside the robot' if room >= 0 else
                  f'the best trajectory found comes {-room:.2f} m too near to an obstacle')
        verdict = PlanVerdict.PLANNED if room >= 0 else PlanVerdict.TOO_NEAR
        return Plan(positions, velocities, built.interval, room, verdict, status, result)

    def _failure(self, start: Tensor, verdict: PlanVerdict, status: str = '', room: float = float('nan')) -> Plan:
        return Plan(start[None], torch.zeros_like(start)[None], self.config.interval, room, verdict,
                    status or str(verdict))


def _along(way: Tensor, count: int) -> Tensor:
    """`count` points (count, d) at equal distances along a polyline."""
    length = torch.cat([way.new_zeros(1), way.diff(dim=0).norm(dim=-1).cumsum(0)])
    keep = torch.cat([length.diff() > 0, torch.ones(1, dtype=torch.bool)])
    way, length = way[keep], length[keep]
    if len(way) < 2:
        return way.expand(count, -1).clone()
    wanted = torch.linspace(0, float(length[-1]), count, dtype=way.dtype)
    i = torch.searchsorted(length, wanted).clamp(1, len(length) - 1)
    part = ((wanted - length[i - 1]) / (length[i] - length[i - 1])).unsqueeze(-1)
    return way[i - 1] + part * (way[i] - way[i - 1])
