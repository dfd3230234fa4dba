"""The model predictive control tasks of the data folder as our problems: dynamics and costs as a user writes them.

Scores are those of the data folder's tasks.py: controls rolled out through the model.
"""
import importlib.util
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pypose_core.control import OCP, Box, Euclidean, LeastSquares, OcpOptions, Rotation, StateConstraint, StateSpace

DATA = Path(os.environ.get('PYPOSE_DATA', Path(__file__).parents[2] / 'shared' / 'data')) / 'tasks'


def load_tasks():
    """tasks.py of the data folder."""
    if not (DATA / 'tasks.py').exists():
        sys.exit(f'no tasks: {DATA} is absent (set PYPOSE_DATA)')
    spec = importlib.util.spec_from_file_location('control_tasks', DATA / 'tasks.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tasks = load_tasks()
INF = math.inf
OPTIONS = OcpOptions(tolerance=1e-4, qp_tolerance=1e-7)
"""Steps of 1e-4 leave less than 1e-6 of the cost."""


FASTER = OcpOptions(tolerance=1e-3, qp_tolerance=1e-6)


def f64(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=float))


class VehicleTask:
    """What tasks share whose state is a plain vector, the peer's and ours alike."""

    nu = 2

    def ours(self, x):
        return x

    def guess(self):
        return np.zeros((self.spec['N'], self.nu))


class Unicycle(VehicleTask):
    """Tracking of a lemniscate with limits on speeds and their changes."""

    name, target = 'unicycle N = 30', 3.0
    spec = tasks.C_SPEC
    nx, nu, steps = 3, 2, spec['steps']
    reference = 'c_unicycle'

    def ocp(self, backend: str = 'native', residual: Callable | None = None, hessian: str = 'exact') -> OCP:
        """With a residual(x, u) added to the next state, if given."""
        s = self.spec
        Wx, Wu, Wdu, Wf = (f64(s[k]) for k in ('Wx', 'Wu', 'Wdu', 'Wf'))

        def rate(x, u):
            return torch.stack([u[..., 0] * torch.cos(x[..., 2]), u[..., 0] * torch.sin(x[..., 2]), u[..., 1]], -1)

        def step(x, u, p):
            after = tasks.rk4(rate, x, u, s['dt'])
            return after if residual is None else after + residual(x, u)
        limit, change = f64([s['v_max'], s['w_max']]), f64([s['dv_max'], s['dw_max']])
        return OCP(step, state=3, control=2, horizon=s['N'],
                   stage_cost=LeastSquares(lambda x, u, p: torch.cat(
                       [Wx * (x - p.xr), Wu * (u - p.ur), Wdu * (u - p.u_prev)], -1)),
                   terminal_cost=LeastSquares(lambda x, p: Wf * (x - p.xr)), control_bounds=Box(-limit, limit),
                   rate_bounds=Box(-change, change), parameters={'xr': (3,), 'ur': (2,)}, options=OPTIONS,
                   backend=backend, hessian=hessian)

    def start(self):
        return np.array(self.spec['x_init']), np.zeros(2)

    def parameters(self, k: int) -> dict:
        xr, ur = tasks.lemniscate_ref(k, self.spec['N'] + 1)
        return {'xr': tensor(xr), 'ur': tensor(ur)}

    def plant(self, x, u, k: int):
        return tasks.step_unicycle(x, u) + tasks.unicycle_disturb(k)

    def score(self, x, U, before, k: int):
        return tasks.score_unicycle(x, U, before, k)[:2]


class Bicycle(VehicleTask):
    """A car around three discs."""

    name, target = 'bicycle with obstacles N = 40', 1.5
    spec = tasks.D_SPEC
    nx, nu, steps = 4, 2, spec['steps']
    reference = 'd_bicycle'

    def ocp(self, backend: str = 'native') -> OCP:
        s = self.spec
        Wx, Wu, Wf = (f64(s[k]) for k in ('Wx', 'Wu', 'Wf'))

        def rate(x, u):
            yaw, v = x[..., 2], x[..., 3]
            turn = v / s['L'] * torch.tan(u[..., 1])
            return torch.stack([v * torch.cos(yaw), v * torch.sin(yaw), turn, u[..., 0]], -1)

        def clearance(x, p):
            return torch.stack([(x[..., 0] - a) ** 2 + (x[..., 1] - b) ** 2 - (r + s['margin']) ** 2
                                for a, b, r in s['obstacles']], -1)
        limit = f64([s['a_max'], s['delta_max']])
        return OCP(lambda x, u, p: tasks.rk4(rate, x, u, s['dt']), state=4, control=2, horizon=s['N'],
                   stage_cost=LeastSquares(lambda x, u, p: torch.cat([Wx * (x - p.xr), Wu * u], -1)),
                   terminal_cost=LeastSquares(lambda x, p: Wf * (x - p.xr)), control_bounds=Box(-limit, limit),
                   state_bounds=Box(f64([-INF, -INF, -INF, s['v_min']]), f64([INF, INF, INF, s['v_max']])),
                   constraints=[StateConstraint('obstacle', clearance, lower=0.0)], parameters={'xr': (4,)},
                   options=OPTIONS, backend=backend, hessian='exact')

    def start(self):
        return np.array(self.spec['x0'], float), np.zeros(2)

    def parameters(self, k: int) -> dict:
        return {'xr': tensor(tasks.bicycle_ref(k, self.spec['N'] + 1))}

    def plant(self, x, u, k: int):
        return tasks.step_bicycle(x, u)

    def score(self, x, U, before, k: int):
        return tasks.score_bicycle(x, U, k)[:2]


class Quadrotor:
    """Tracking of a circle; the attitude is a rotation of our state, a quaternion w x y z of the peer's."""

    name, target = 'quadrotor N = 20', 1.5
    spec = tasks.E_SPEC
    nx, nu, steps = 13, 4, spec['steps']
    reference = 'e_quadrotor'

    def ocp(self, backend: str = 'native') -> OCP:
        s = self.spec
        hover = s['mass'] * s['g'] / 4
        Wp, Wv, Wq, Ww, Wu = (f64(s[k]) for k in ('Wp', 'Wv', 'Wq', 'Ww', 'Wu'))

        def rate(x, u):
            qx, qy, qz, qw = (x[..., i] for i in range(3, 7))
            wx, wy, wz = (x[..., i] for i in range(10, 13))
            f1, f2, f3, f4 = (u[..., i] for i in range(4))
            Jx, Jy, Jz = s['J']
            thrust, c = (f1 + f2 + f3 + f4) / s['mass'], s['arm'] / math.sqrt(2)
            tx, ty, tz = c * (f1 - f2 - f3 + f4), c * (-f1 - f2 + f3 + f4), s['kyaw'] * (f1 - f2 + f3 - f4)
            return torch.stack([
                x[..., 7], x[..., 8], x[..., 9], 0.5 * (qw * wx + qy * wz - qz * wy),
                0.5 * (qw * wy - qx * wz + qz * wx), 0.5 * (qw * wz + qx * wy - qy * wx),
                0.5 * (-qx * wx - qy * wy - qz * wz),
                2 * (qx * qz + qw * qy) * thrust, 2 * (qy * qz - qw * qx) * thrust,
                (1 - 2 * (qx * qx + qy * qy)) * thrust - s['g'], (tx - (Jz - Jy) * wy * wz) / Jx,
                (ty - (Jx - Jz) * wx * wz) / Jy, (tz - (Jy - Jx) * wx * wy) / Jz], -1)

        def step(x, u, p):
            after = tasks.rk4(rate, x, u, s['dt'])
            q = after[..., 3:7]
            return torch.cat([after[..., :3], q / torch.linalg.norm(q, dim=-1, keepdim=True), after[..., 7:]], -1)

        def residual(x, p):
            return torch.cat([Wp * (x[..., :3] - p.p), Wv * (x[..., 7:10] - p.v), 2 * Wq * x[..., 3:6] * x[..., 6:7],
                              Ww * x[..., 10:]], -1)
        none = [INF] * 10
        return OCP(step, state=StateSpace([Euclidean(3), Rotation(), Euclidean(6)]), control=4, horizon=s['N'],
                   stage_cost=LeastSquares(lambda x, u, p: torch.cat([residual(x, p), Wu * (u - hover)], -1)),
                   terminal_cost=LeastSquares(lambda x, p: s['Wf_scale'] * residual(x, p)),
                   control_bounds=Box(s['f_min'], s['f_max']),
                   state_bounds=Box(-f64(none + [s['w_max']] * 3), f64(none + [s['w_max']] * 3)),
                   parameters={'p': (3,), 'v': (3,)}, options=OPTIONS, backend=backend)

    def start(self):
        return tasks.quad_x0(), np.zeros(4)

    def parameters(self, k: int) -> dict:
        p, v = tasks.quad_ref(k, self.spec['N'] + 1)
        return {'p': tensor(p), 'v': tensor(v)}

    def plant(self, x, u, k: int):
        return tasks.step_quad(x, u)

    def score(self, x, U, before, k: int):
        return tasks.score_quad(x, U, k)[:2]

    def ours(self, x):
        return np.concatenate([x[:3], x[4:7], x[3:4], x[7:]])

    def guess(self):
        return np.full((self.spec['N'], 4), self.spec['mass'] * self.spec['g'] / 4)


def cartpole() -> OCP:
    """Swing-up from rest."""
    s = tasks.B_SPEC
    Wx, Wu, Wf, goal = (f64(s[k]) for k in ('Wx', 'Wu', 'Wf', 'goal'))

    def rate(x, u):
        theta, v, w, force = x[..., 1], x[..., 2], x[..., 3], u[..., 0]
        sine, cosine = torch.sin(theta), torch.cos(theta)
        mass = s['mc'] + s['mp'] * sine * sine
        return torch.stack([v, w, (force + s['mp'] * sine * (s['l'] * w * w + s['g'] * cosine)) / mass,
                            (-force * cosine - s['mp'] * s['l'] * w * w * sine * cosine
                             - (s['mc'] + s['mp']) * s['g'] * sine) / (s['l'] * mass)], -1)
    return OCP(lambda x, u, p: tasks.rk4(rate, x, u, s['dt']), state=4, control=1, horizon=s['N'], hessian='exact',
               stage_cost=LeastSquares(lambda x, u, p: torch.cat([Wx * (x - goal), Wu * u], -1)),
               terminal_cost=LeastSquares(lambda x, p: Wf * (x - goal)),
               options=OcpOptions(tolerance=1e-4, max_iterations=300))
