"""Optimal control problems that several tests use."""

import torch

from pypose_core.control.ocp import OCP, OcpOptions
from pypose_core.control.problem import Box, LeastSquares, StateConstraint
from pypose_core.control.state_space import Rotation, StateSpace, multiply

TIGHT = OcpOptions(tolerance=1e-9, feasibility=1e-9, qp_tolerance=1e-11, max_iterations=200)


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def rk4(rate, x, u, dt):
    k1 = rate(x, u)
    k2 = rate(x + dt / 2 * k1, u)
    k3 = rate(x + dt / 2 * k2, u)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + rate(x + dt * k3, u))


def unicycle_rate(x, u):
    return torch.stack([u[..., 0] * torch.cos(x[..., 2]), u[..., 0] * torch.sin(x[..., 2]), u[..., 1]], -1)


def unicycle(x, u, p):
    return rk4(unicycle_rate, x, u, 0.1)


def tracking(horizon=12, dynamics=unicycle, **given):
    """A unicycle that tracks p.goal with weights p.weight, limits on speed and its change, a disc to go around."""
    arguments = dict(
        state=3, control=2, horizon=horizon, parameters={'goal': (3,), 'weight': (3,)},
        stage_cost=LeastSquares(
            lambda x, u, p: torch.cat([p.weight * (x - p.goal), 0.3 * u, 0.5 * (u - p.u_prev)], -1)),
        terminal_cost=LeastSquares(lambda x, p: 3 * p.weight * (x - p.goal)),
        control_bounds=Box(f64([-0.8, -1.3]), f64([0.8, 1.3])), rate_bounds=Box(f64([-0.2, -0.5]), f64([0.2, 0.5])),
        constraints=[StateConstraint('disc', lambda x, p: ((x[..., :2] - f64([0.45, 0.05])) ** 2).sum(-1, keepdim=True),
                                     lower=0.04)], options=TIGHT)
    return OCP(dynamics, **(arguments | given))


TRACKING = {'goal': f64([1.0, 0.2, 0.0]), 'weight': f64([2.0, 2.0, 0.5])}
START = f64([0.0, 0.0, 0.1])
STOPPED = f64([0.0, 0.0])


def double_integrator(horizon=20, **given):
    """A cart on a line: ẍ = u."""
    arguments = dict(
        state=2, control=1, horizon=horizon, options=TIGHT,
        stage_cost=LeastSquares(lambda x, u, p: torch.cat([x, 0.5 * u], -1)),
        terminal_cost=LeastSquares(lambda x, p: 5 * x))
    return OCP(lambda x, u, p: torch.stack([x[..., 0] + 0.1 * x[..., 1] + 0.005 * u[..., 0],
                                            x[..., 1] + 0.1 * u[..., 0]], -1), **(arguments | given))


def spacecraft(horizon=10, **given):
    """A rotation q̇ = ½ q ω turned to the identity by rates ω, limited; the state is the quaternion alone."""
    def turned(q, w, p):
        angle = 0.1 * w
        squared = (angle * angle).sum(-1, keepdim=True)
        vector = angle * (0.5 - squared / 48 + squared * squared / 3840)
        after = multiply(q, torch.cat([vector, 1 - squared / 8 + squared * squared / 384], -1))
        return after / torch.linalg.norm(after, dim=-1, keepdim=True)
    arguments = dict(
        state=StateSpace([Rotation()]), control=3, horizon=horizon, options=TIGHT, parameters={'weight': (3,)},
        stage_cost=LeastSquares(lambda q, w, p: torch.cat([p.weight * 2 * q[..., :3] * q[..., 3:], 0.2 * w], -1)),
        terminal_cost=LeastSquares(lambda q, p: 3 * p.weight * 2 * q[..., :3] * q[..., 3:]),
        control_bounds=Box(-1.0, 1.0))
    return OCP(turned, **(arguments | given))
