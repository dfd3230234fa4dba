"""The optimal control problem of one cycle: keep to a reference, keep off obstacles, within limits."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.control import OCP, Box, LeastSquares, LookupTable, OcpOptions, Soft, StageConstraint, StateConstraint
from pypose_core.online.path_tracking.config import PathTrackerConfig

COLLISION_PRICE = Soft(linear=30.0, quadratic=300.0)
"""Of a metre that the centre is nearer to an obstacle than the radius. Soft: a robot that is too near must find out."""


def f64(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def dynamics(model: str, dt: float):
    """x₊(x, u, p) of poses (..., 3) by the midpoint rule: second order in dt."""
    def step(x, u, p):
        w = u[..., -1]
        middle = x[..., 2] + (0.5 * dt) * w
        c, s = torch.cos(middle), torch.sin(middle)
        if model == 'omni':
            vx, vy = u[..., 0], u[..., 1]
            ahead, aside = c * vx - s * vy, s * vx + c * vy
        else:
            ahead, aside = c * u[..., 0], s * u[..., 0]
        return torch.stack([x[..., 0] + dt * ahead, x[..., 1] + dt * aside, x[..., 2] + dt * w], -1)
    return step


class TrackingProblem:
    """The problem and its bounds.

    Parameters of the OCP: `pose` (3,) and `speeds` (controls,), the reference of each stage; `near` (1,), the distance
    to an obstacle from which on nearness costs.

    Args:
        config: see there.
        table: distances to obstacles in the frame of the poses; the caller keeps it up to date.
    """

    def __init__(self, config: PathTrackerConfig, table: LookupTable):
        limits, w, dt = config.limits, config.weights, config.dt
        self.controls = 3 if config.model == 'omni' else 2
        sideways = [limits.max_lateral_speed] if config.model == 'omni' else []
        self.upper = np.array([limits.max_speed, *sideways, limits.max_turn_rate])
        self.lower = np.array([limits.min_speed, *(-x for x in sideways), -limits.max_turn_rate])
        acceleration = np.array([limits.max_acceleration] * (self.controls - 1) + [limits.max_turn_acceleration])
        seconds = np.full((config.horizon + 1, 1), dt)
        seconds[0] = 1 / config.frequency       # the next cycle may change the command again
        self.rates = seconds * acceleration
        self._by_then = np.cumsum(seconds, 0) * acceleration    # changes that are possible until each stage's end
        W_speed = f64([w.speed] * (self.controls - 1) + [w.turn])
        W_change = f64([w.speed_change] * (self.controls - 1) + [w.turn_change])

        def errors(x, p):
            c, s = torch.cos(p.pose[..., 2]), torch.sin(p.pose[..., 2])
            dx, dy = x[..., 0] - p.pose[..., 0], x[..., 1] - p.pose[..., 1]
            return torch.stack([w.along * (c * dx + s * dy), w.cross * (c * dy - s * dx),
                                w.heading * (x[..., 2] - p.pose[..., 2])], -1)

        def nearness(x, p):
            return w.obstacle * torch.relu(p.near - table(x[..., 0], x[..., 1]).unsqueeze(-1))

        def stage(x, u, p):
            return torch.cat([errors(x, p), W_speed * (u - p.speeds), W_change * (u - p.u_prev), nearness(x, p)], -1)
        constraints: list[StageConstraint | StateConstraint] = [
            StateConstraint('clearance', lambda x, p: table(x[..., 0], x[..., 1]).unsqueeze(-1),
                            lower=config.radius, soft=COLLISION_PRICE)]
        if config.model == 'ackermann':
            steering = math.tan(limits.max_steering) / limits.wheelbase
            constraints.append(StageConstraint('steering', lambda x, u, p: torch.stack(
                [steering * u[..., 0] - u[..., 1], steering * u[..., 0] + u[..., 1]], -1), lower=0.0))
        solver = config.solver
        self.ocp = OCP(dynamics(config.model, dt), state=3, control=self.controls, horizon=config.horizon,
                       stage_cost=LeastSquares(stage),
                       terminal_cost=LeastSquares(
                           lambda x, p: torch.cat([w.terminal * errors(x, p), nearness(x, p)], -1)),
                       control_bounds=Box(f64(self.lower), f64(self.upper)), constraints=constraints, backend='native',
                       rate_bounds=Box(-f64(self.rates[1]), f64(self.rates[1])),
                       parameters={'pose': (3,), 'speeds': (self.controls,), 'near': (1,)},
                       options=OcpOptions(max_iterations=solver.max_iterations, tolerance=solver.tolerance,
                                          feasibility=1e-4, qp_tolerance=1e-6, time_budget=solver.time_budget))

    def bounds(self, before: NDArray, speed_limit: float) -> dict[str, Any]:
        """Of the controls and their changes, as `OCP.solve` takes them.

        A speed limit lower than the present speed is reached by braking, not at once.

        Args:
            before: (controls,) the command before.
            speed_limit: m/s.
        """
        faster, slower = np.minimum(self.upper, speed_limit), np.maximum(self.lower, -speed_limit)
        upper = np.minimum(np.maximum(faster, before - self._by_then), np.maximum(self.upper, before))
        lower = np.maximum(np.minimum(slower, before + self._by_then), np.minimum(self.lower, before))
        lower[:, -1], upper[:, -1] = self.lower[-1], self.upper[-1]
        return {'control': (lower, upper), 'control rate': (-self.rates, self.rates)}
