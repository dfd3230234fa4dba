"""What solving an optimal control problem gives."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pypose_core.control.arrays import Array


class OcpStatus(Enum):
    """Why the iteration ended; the value is a sentence."""

    CONVERGED = 'converged: the last step was shorter than the tolerance, and every constraint holds'
    ITERATIONS = 'stopped: the maximum number of iterations is reached'
    INFEASIBLE = 'infeasible: no trajectory near the last one meets every constraint'
    LINE_SEARCH = 'stopped: no step that was tried improved on cost and constraints'
    INDEFINITE = 'stopped: the Hessian stayed indefinite; use Gauss-Newton or regularization'
    NUMERICAL = 'stopped: a function or its derivative is not finite, or the quadratic program broke down'
    TIME = 'stopped: the time budget is spent'

    def __str__(self) -> str:
        return self.value


STATUSES = tuple(OcpStatus)


@dataclass(frozen=True)
class OcpStats:
    """Numbers about a solution."""

    iterations: int
    """Quadratic programs that were solved."""
    qp_iterations: int
    """Interior-point iterations in all of them."""
    cost: float
    """Cost at the solution, with the price of violations."""
    defect: float
    """Sum of |x_{k+1} ⊖ f(x_k, u_k)|."""
    violation: float
    """Largest violation of a constraint that is not soft."""
    worst: str
    """That constraint and its stage, or an empty string."""
    stationarity: float
    """Largest derivative of the Lagrangian by a control."""
    seconds: float
    """Time of the native solver."""


class OcpResult:
    """Trajectories and status, tensors, or numpy arrays where the problem was given as such. With a batch, each has a
    leading dimension and `status` is a list."""

    __slots__ = ('states', 'controls', 'costates', 'multipliers', 'raw', '_names')

    def __init__(self, states: Array, controls: Array, costates: Array, multipliers: Array, raw: Array,
                 names: tuple[str, ...]):
        self.states = states
        """(..., N + 1, state)."""
        self.controls = controls
        """(..., N, control)."""
        self.costates = costates
        """(..., N + 1, tangent): the multipliers of the dynamics; the first is the cost's slope by x_0."""
        self.multipliers = multipliers
        """(..., N + 1, 2, rows): of lower and upper bounds."""
        self.raw = raw
        self._names = names

    @property
    def status(self) -> OcpStatus | list[OcpStatus]:
        if self.raw.ndim == 1:
            return STATUSES[int(self.raw[0])]
        return [STATUSES[int(code)] for code in self.raw[:, 0]]

    @property
    def converged(self) -> bool:
        """Whether all of the batch converged."""
        return bool((self.raw[..., 0] == 0).all())

    @property
    def stats(self) -> OcpStats | list[OcpStats]:
        return self._stats(self.raw.tolist()) if self.raw.ndim == 1 else [self._stats(r) for r in self.raw.tolist()]

    def _stats(self, raw: list[float]) -> OcpStats:
        stage, row = int(raw[6]), int(raw[7])
        worst = '' if row < 0 else f'{self._names[row]} at stage {stage}'
        return OcpStats(int(raw[1]), int(raw[2]), raw[3], raw[4], raw[5], worst, raw[8], raw[9])

    def __str__(self) -> str:
        if self.raw.ndim == 2:
            return '\n'.join(str(self.one(i)) for i in range(len(self.raw)))
        stats = self._stats(self.raw.tolist())
        text = f'{self.status} ({stats.iterations} iterations, cost {stats.cost:.6g}'
        return text + (f', {stats.worst} violated by {stats.violation:.3g})' if stats.violation > 1e-6 else ')')

    def one(self, i: int) -> OcpResult:
        """The i-th problem of a batch."""
        return OcpResult(self.states[i], self.controls[i], self.costates[i], self.multipliers[i], self.raw[i],
                         self._names)
