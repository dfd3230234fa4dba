"""The user's functions of an optimal control problem, as the solver calls them."""
from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

from pypose_core.control.problem import Cost, LeastSquares, StateConstraint
from pypose_core.dynamics.system import System


class Functions:
    """The user's functions on the state that has the last control appended, where there are rates."""

    def __init__(self, ocp, dynamics: Callable | System, stage_cost, terminal_cost):
        self.n, self.rates, self.nu = ocp.base_space.size, ocp.rates, ocp.control
        self.shapes = ocp.shapes
        if isinstance(dynamics, System):
            system = dynamics

            def dynamics(x, u, p):
                return system.state_transition(x, u)
        self._dynamics, self._costs = dynamics, (stage_cost, terminal_cost)
        self._check()

    def _split(self, x, p):
        if not self.rates:
            return x, p
        namespace = type(p)(**vars(p))
        namespace.u_prev = x[..., self.n:]
        return x[..., :self.n], namespace

    def base_dynamics(self, x, u, p):
        """The next state, without the control appended."""
        x, p = self._split(x, p)
        return self._dynamics(x, u, p)

    def dynamics(self, x, u, p):
        after = self.base_dynamics(x, u, p)
        return torch.cat([after, u], -1) if self.rates else after

    def cost(self, terminal: bool):
        cost = self._costs[terminal]
        return type(cost)(self._wrapped(cost.residual if isinstance(cost, LeastSquares) else cost.value, terminal))

    def row(self, constraint):
        return self._wrapped(constraint.function, isinstance(constraint, StateConstraint))

    def _wrapped(self, function: Callable, of_state: bool) -> Callable:
        def on_state(x, p):
            return function(*self._split(x, p))

        def on_stage(x, u, p):
            x, p = self._split(x, p)
            return function(x, u, p)
        return on_state if of_state else on_stage

    def _probe(self) -> tuple[Tensor, Tensor, SimpleNamespace]:
        """Some state, control and parameters."""
        p = SimpleNamespace(**{name: torch.ones(shape, dtype=torch.float64) for name, shape in self.shapes.items()})
        return torch.ones(self.n + self.nu * self.rates, dtype=torch.float64), torch.ones(self.nu).double(), p

    @torch.no_grad()
    def _check(self) -> None:
        """Each function is called once, to find mistakes in what it returns."""
        x, u, p = self._probe()
        after = self.base_dynamics(x, u, p)
        if after.shape != (self.n,):
            raise ValueError(f'the dynamics return shape {tuple(after.shape)}; the state has {self.n} numbers')
        for terminal, name in ((False, 'stage_cost'), (True, 'terminal_cost')):
            if not isinstance(self._costs[terminal], (LeastSquares, Cost)):
                raise ValueError(f'{name} must be LeastSquares or Cost, not {type(self._costs[terminal]).__name__}')
            cost, given = self.cost(terminal), (x, p) if terminal else (x, u, p)
            if isinstance(cost, LeastSquares):
                shape, wanted = cost.residual(*given).shape, 'a vector (residuals,)'
            else:
                shape, wanted = cost.value(*given).shape, 'one number, shape ()'
            if len(shape) != int(isinstance(cost, LeastSquares)):
                raise ValueError(f'{name} must return {wanted} for one state, not shape {tuple(shape)}')

    def count(self, constraint) -> int:
        """Rows of a constraint, found by calling it."""
        x, u, p = self._probe()
        with torch.no_grad():
            d = self.row(constraint)(*((x, p) if isinstance(constraint, StateConstraint) else (x, u, p)))
        if d.ndim != 1:
            raise ValueError(f'constraint {constraint.name!r} must give rows (rows,), not {tuple(d.shape)}')
        return len(d)

    @cached_property
    def cost_counts(self) -> tuple[int, int]:
        """Residuals of a stage and of the end; 1 for costs of another form."""
        x, u, p = self._probe()
        counts = []
        for terminal in (False, True):
            cost = self.cost(terminal)
            with torch.no_grad():
                counts.append(cost.residual(*((x, p) if terminal else (x, u, p))).shape[-1]
                              if isinstance(cost, LeastSquares) else 1)
        return counts[0], counts[1]
