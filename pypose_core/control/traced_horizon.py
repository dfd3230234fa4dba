"""A nonlinear system over a horizon, traced once and followed natively.

What a user writes as a torch function costs some microseconds for each operation and step. Its tape costs some
nanoseconds. Where the function cannot be traced, Horizon itself does the same in torch.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.control.expression import Graph, jacobian
from pypose_core.control.horizon import Horizon
from pypose_core.control.tape import compile_tape
from pypose_core.control.traced import Traced
from pypose_core.dynamics.nonlinear import NLS


class TracedStep:
    """The tapes of x⁺ = f(x, u, t), and of f with its Jacobian.

    Args:
        system: NLS; its state_transition is called once, with symbols of the shapes (1, n), (1, m), ().
        n, m: sizes of state and input.

    Raises:
        whatever the function raises where it cannot be traced.
    """

    def __init__(self, system: NLS, n: int, m: int):
        graph = Graph()
        x, u, t = (Traced.inputs(graph, start, shape) for start, shape in ((0, (1, n)), (n, (1, m)), (n + m, ())))
        transition: Callable[..., Any] = system.state_transition      # with symbols in place of tensors
        after = transition(x, u, t)
        if not isinstance(after, Traced) or after.elements.size != n:
            raise TypeError(f'the next state must be {n} expressions')
        outputs, inputs = after.nodes(graph), [*x.nodes(graph), *u.nodes(graph)]
        self.n, self.m = n, m
        self.step = compile_tape(graph, dict(enumerate(outputs))).packed()
        record = dict(enumerate(outputs))
        for i, row in enumerate(jacobian(graph, outputs, inputs)):
            record |= {n + i * (n + m) + j: node for j, node in row.items()}
        self.both = compile_tape(graph, record).packed()


def trace(system, n: int, m: int, like: Tensor) -> TracedStep | None:
    """The tapes of a system's transition, or None where it must be left to torch."""
    if not (native.available and isinstance(system, NLS) and like.device.type == 'cpu'):
        return None
    try:
        return TracedStep(system, n, m)
    except Exception:   # whatever the user's function raises when it meets symbols
        return None


class TracedHorizon(Horizon):
    """Horizon by the tapes. Results have no gradients."""

    def __init__(self, base: Horizon, traced: TracedStep):
        self.__dict__.update(base.__dict__)
        self.traced = traced
        self._seconds = self.times.to(torch.float64)

    def rollout(self, x0: Tensor, u: Tensor, feedback: tuple[Tensor, Tensor] | None = None,
                lower: Tensor | None = None, upper: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As Horizon.rollout()."""
        K, nominal = (None, None) if feedback is None else feedback
        given = [None if z is None else z.to(torch.float64).contiguous() for z in (K, nominal, lower, upper)]
        x, applied = torch.ops.pypose.tape_rollout(self.traced.step, x0.to(torch.float64).contiguous(),
                                                   u.to(torch.float64).contiguous(), self._seconds, *given)
        return x.to(u.dtype), applied.to(u.dtype)

    def linearize(self, x: Tensor, u: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """As Horizon.linearize(), without gradients."""
        n, m = self.traced.n, self.traced.m
        t = self._seconds.expand(x.shape[:-1]).unsqueeze(-1)
        rows = torch.cat([x, u, t], -1).view(-1, n + m + 1).contiguous()
        record = torch.ops.pypose.tape_evaluate(self.traced.both, rows, n + n * (n + m)).to(u.dtype)
        f = record[:, :n].view(x.shape)
        J = record[:, n:].view(*x.shape, n + m)
        A, B = J[..., :n].contiguous(), J[..., n:].contiguous()
        return A, B, f - (A @ x.unsqueeze(-1) + B @ u.unsqueeze(-1)).squeeze(-1)

    def agrees(self, base: Horizon, x: Tensor, u: Tensor) -> bool:
        """Whether the trajectory (x, u) is one of the system as it is now: parameters may have changed since."""
        tolerance = torch.finfo(u.dtype).eps ** 0.7

        def same(f) -> bool:
            return f.shape == u.shape[:2] + x.shape[2:] and bool(
                torch.allclose(f, x[:, 1:], rtol=tolerance, atol=tolerance, equal_nan=True))
        try:    # all steps in one call; what agrees at all of them needs no other proof
            times = self.times.view(-1, 1, 1)
            if same(base.system.state_transition(x[:, :-1].transpose(0, 1), u.transpose(0, 1), times).transpose(0, 1)):
                return True
        except Exception:   # whatever the user's function raises for a batch
            return same(base.step_each(x[:, :-1], u))
        return same(base.step_each(x[:, :-1], u))
