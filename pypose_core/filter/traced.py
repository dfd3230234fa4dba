"""A step of the extended Kalman filter on functions that were traced once."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.control.expression import Graph, jacobian
from pypose_core.control.tape import compile_tape
from pypose_core.control.traced import Traced
from pypose_core.dynamics.nonlinear import NLS

ATTEMPTS = 3
"""Tracings of one system, after which it is taken for one that changes with each step."""


def _tape(function, graph: Graph, x: Traced, u: Traced, t: Traced) -> tuple[list[Tensor], int]:
    """The tape of a function's values and their Jacobian by x, row-major; how many values."""
    y = function(x, u, t)
    if not isinstance(y, Traced):
        raise TypeError('the function gave no expressions')
    outputs, inputs = y.nodes(graph), x.nodes(graph)
    count, n = len(outputs), len(inputs)
    record = dict(enumerate(outputs))
    for i, row in enumerate(jacobian(graph, outputs, inputs)):
        record |= {count + i * n + j: node for j, node in row.items()}
    return compile_tape(graph, record).packed(), count


class TracedSteps:
    """The native steps of a system's filter, by the shapes of its state and input.

    A tape is what the function was when it was traced. So with each step the functions are called by torch, at a state
    nearby (where no term happens to vanish), and a system that has changed is traced again, or left to torch.
    """

    def __init__(self):
        self._models: dict[tuple, tuple] = {}
        self._attempts: dict[tuple, int] = {}

    def __reduce__(self):
        """A copy, or what is loaded from a file, traces for itself."""
        return TracedSteps, ()

    def step(self, system: NLS, x: Tensor, y: Tensor, u: Tensor, P: Tensor, Q: Tensor, R: Tensor,
             t: Tensor) -> tuple[Tensor, Tensor] | None:
        """x⁺ (..., n), P⁺ (..., n, n) as by EKF.forward(), or None where it must be done by torch."""
        if not native.available or x.dtype not in (torch.float32, torch.float64) or x.device.type != 'cpu':
            return None
        key = (x.dim(), x.shape[-1], u.dim(), u.shape[-1])
        while True:
            if key not in self._models:
                self._models[key] = self._trace(system, key)
            model, offset, k = self._models[key]
            if model is None or y.shape[-1] != k or y.shape[:-1] != x.shape[:-1] or (u.dim() > 1 and
                                                                                   u.shape[:-1] != x.shape[:-1]):
                return None
            with torch.no_grad():
                probe = torch.add(offset.to(x.dtype), x, alpha=1.01)
                values = system.state_transition(probe, u, t), system.observation(probe, u, t)
                found = self._call(model, x, y, u, P, Q, R, t, probe, *values)
            if found is not None:
                return found
            del self._models[key]

    def _trace(self, system: NLS, key: tuple) -> tuple:
        x_dim, n, u_dim, m = key
        self._attempts[key] = self._attempts.get(key, 0) + 1
        if self._attempts[key] > ATTEMPTS:
            return None, None, 0
        graph = Graph()
        shapes = (0, (*[1] * (x_dim - 1), n)), (n, (*[1] * (u_dim - 1), m)), (n + m, ())
        symbols = [Traced.inputs(graph, start, shape) for start, shape in shapes]
        try:
            (f, count), (h, k) = (_tape(z, graph, *symbols) for z in (system.state_transition, system.observation))
        except Exception:   # whatever the user's function raises when it meets symbols
            return None, None, 0
        if count != n:
            return None, None, 0
        # Different in each component, so that no difference of two of them vanishes.
        offset = 0.05 + 0.01 * torch.arange(1.0, n + 1, dtype=torch.float64).sqrt()
        return torch.ops.pypose.traced_model(f, h, n, m, k), offset, k

    def _call(self, model, x, y, u, P, Q, R, t, probe, f, h) -> tuple[Tensor, Tensor] | None:
        batch = x.shape[:-1]
        if len(batch) > 1:
            x, y, u, probe, f, h = (z if z.dim() == 1 else z.reshape(-1, z.shape[-1]) for z in (x, y, u, probe, f, h))
        if batch:
            P, Q, R = (M if M.dim() == 2 else M.expand(*batch, *M.shape[-2:]).reshape(-1, *M.shape[-2:])
                       for M in (P, Q, R))
        mean, covariance, same = torch.ops.pypose.traced_ekf_step(
            model, x, u, float(t), P, y, Q, R, probe, f, h, torch.finfo(x.dtype).eps ** 0.6)
        if not same:
            return None
        return (mean.view(*batch, -1), covariance.view(*batch, *covariance.shape[-2:])) if len(batch) > 1 else \
            (mean, covariance)
