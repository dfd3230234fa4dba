"""A system over the T steps of a horizon: its linear form, its trajectories, its cost.

Times in a horizon start at 0 at its first step. The system's own clock is lent for the while and given back.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pypose_core.dynamics.linear import LTI, LTV
from pypose_core.dynamics.nonlinear import NLS
from pypose_core.dynamics.system import System

LINEAR = ('A', 'B', 'c1')


class Horizon:
    """T steps of `system`, dt apart.

    Args:
        system: LTI, LTV, NLS, or anything with state_transition(state, input), set_refpoint(state, input, t), A and B.
        steps: T.
        dt: what a nonlinear system gets as its time is k dt at step k; a linear one has its clock at k.
        like: a tensor whose dtype and device the times have.
    """

    def __init__(self, system, steps: int, dt: float, like: Tensor):
        self.system, self.steps = system, steps
        self.linear = isinstance(system, LTI)
        if not self.linear:     # a linear one has no times
            whole = torch.arange(steps, device=like.device, dtype=None if isinstance(dt, int) else like.dtype)
            self.times = whole * dt

    @contextlib.contextmanager
    def _lent_clock(self) -> Iterator[None]:
        kept = self.system._t if isinstance(self.system, System) else None
        try:
            yield
        finally:
            if kept is not None:
                self.system._t = kept

    def _set_clock(self, k: int) -> None:
        if isinstance(self.system, System):
            self.system._t = torch.full_like(self.system._t, k)

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """A (b, t, n, n), B (b, t, n, m), c (b, t, n) of a linear system; b, t are 1 where all are the same."""
        found: list[Any] = []
        with self._lent_clock():
            for name, trailing in zip(LINEAR, (2, 2, 1)):
                owner = next(c for c in type(self.system).__mro__ if name in vars(c))
                stored = getattr(self.system, '_' + name)
                if owner is LTI:
                    z = stored if stored is None else stored.unsqueeze(-1 - trailing)
                elif owner is LTV:
                    if stored is not None and stored.shape[-1 - trailing] < self.steps:
                        raise ValueError(f'the system is defined for {stored.shape[-1 - trailing]} steps, the horizon '
                                         f'has {self.steps}')
                    z = stored if stored is None else stored.narrow(-1 - trailing, 0, self.steps)
                else:
                    each = []
                    for k in range(self.steps):
                        self._set_clock(k)
                        each.append(getattr(self.system, name))
                    z = None if each[0] is None else torch.stack(each, -1 - trailing)
                found.append(z if z is None or z.dim() > trailing + 1 else z.unsqueeze(0))
        A, B, c = found
        if c is None:
            c = A.new_zeros(1, 1, A.shape[-1])
        return A, B, c

    def step(self, k: int, x: Tensor, u: Tensor) -> Tensor:
        """The state after step k; the clock must be lent."""
        self._set_clock(k)
        if self.linear or not isinstance(self.system, NLS):
            return self.system.state_transition(x, u)
        return self.system.state_transition(x, u, self.times[k])

    def step_all(self, x: Tensor, u: Tensor) -> Tensor:
        """The states after each step from x (B, T, n) with u (B, T, m): (B, T, n)."""
        with self._lent_clock():
            if isinstance(self.system, NLS):
                stages = x.transpose(0, 1), u.transpose(0, 1)
                if self.system.takes_batches(*stages, self.times):
                    return self.system.state_transition(*stages, self.times.view(-1, 1, 1)).transpose(0, 1)
            return self.step_each(x, u)

    def step_each(self, x: Tensor, u: Tensor) -> Tensor:
        """step_all() by one call for each step."""
        with self._lent_clock():
            return torch.stack([self.step(k, x[:, k], u[:, k]) for k in range(self.steps)], 1)

    def rollout(self, x0: Tensor, u: Tensor, feedback: tuple[Tensor, Tensor] | None = None,
                lower: Tensor | None = None, upper: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (B, T+1, n) and inputs (B, T, m) from x0 (B, n).

        Args:
            u: (B, T, m).
            feedback: K (B, T, m, n) and states x̄ (B, T, n): the input is u_t + K_t (x_t - x̄_t).
            lower, upper: (B, T, m), within which the input is kept.
        """
        x, applied = [x0], []
        if feedback is not None:
            K, reference = feedback[0].unbind(1), feedback[1].unbind(1)
        if lower is not None and upper is not None:
            lowers, uppers = lower.unbind(1), upper.unbind(1)
        with self._lent_clock():
            for k, ut in enumerate(u.unbind(1)):
                if feedback is not None and k > 0:   # the first state is given
                    ut = torch.baddbmm(ut.unsqueeze(-1), K[k], (x[-1] - reference[k]).unsqueeze(-1)).squeeze(-1)
                if lower is not None and upper is not None:
                    ut = torch.minimum(torch.maximum(ut, lowers[k]), uppers[k])
                applied.append(ut)
                x.append(self.step(k, x[-1], ut))
        return torch.stack(x, 1), torch.stack(applied, 1)

    def linearize(self, x: Tensor, u: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """A, B, c of the linear system that agrees to first order along x (B, T, n), u (B, T, m)."""
        with self._lent_clock():
            if isinstance(self.system, NLS):
                f, A, B = self.system.linearize_transition(x.transpose(0, 1), u.transpose(0, 1), self.times,
                                                           stages=True, create_graph=create_graph)
                f, A, B = f.transpose(0, 1), A.transpose(0, 1), B.transpose(0, 1)
            else:
                parts = []
                for k in range(self.steps):
                    self._set_clock(k)
                    self.system.set_refpoint(x[:, k], u[:, k], self.times[k])
                    parts.append((self.system.state_transition(x[:, k], u[:, k]), self.system.A, self.system.B))
                f, A, B = (torch.stack(z, 1) for z in zip(*parts))
        c = f - (A @ x.unsqueeze(-1) + B @ u.unsqueeze(-1)).squeeze(-1)
        return A, B, c


def total_cost(Q: Tensor, p: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """Σ_t ½ τᵀQτ + pᵀτ (B,) over the T steps that have an input."""
    tau = torch.cat([x[:, :u.shape[1]], u], -1)
    return (tau * (0.5 * (Q @ tau.unsqueeze(-1)).squeeze(-1) + p)).sum((-2, -1))
