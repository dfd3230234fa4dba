"""What an optimization of a graph returns."""
from dataclasses import dataclass, field
from enum import Enum

from torch import Tensor


class GraphStatus(Enum):
    """How it ended; the value is a sentence."""

    CONVERGED = 'the cost cannot be lowered by more than the tolerance'
    ITERATION_LIMIT = 'the iteration limit was reached before the tolerance'
    TIME_LIMIT = 'the time limit was reached before the tolerance'
    NO_DECREASE = 'no step lowers the cost, though the tolerance is not reached'
    UNDETERMINED = 'a variable is not connected to anything absolute: give it a prior or fix it'
    NOT_POSITIVE_DEFINITE = 'the factors leave a variable undetermined'
    NOT_FINITE = 'the cost is not a finite number'

    @property
    def ok(self) -> bool:
        """Whether the values are an optimum."""
        return self is GraphStatus.CONVERGED


@dataclass(frozen=True)
class PartStats:
    """Numbers of P parts of a graph that have nothing to do with each other."""

    first: Tensor
    """(P,) the first variable of each."""
    status: tuple[GraphStatus, ...]
    iterations: Tensor
    """(P,) linear systems solved."""
    cost: Tensor
    """(P,) sum of rho(r' Omega r) at the end."""
    chi2: Tensor
    """(P,) sum of r' Omega r at the end, without kernels."""


@dataclass
class GraphStats:
    """Numbers of one optimization."""

    iterations: int = 0
    """Linear systems solved."""
    cost: list[float] = field(default_factory=list)
    """Sum of rho(r' Omega r), at the start and after each accepted step."""
    chi2: float = float('nan')
    """Sum of r' Omega r at the end, without kernels."""
    parts: PartStats | None = None
    """Of each part, where a graph was solved part by part."""


@dataclass(frozen=True)
class GraphResult:
    """Solution of a graph."""

    value: dict[str, Tensor]
    """Values of each set of variables; the best found, whatever the status."""
    status: GraphStatus
    stats: GraphStats
    detail: str = ''
    """Which variable the status is about."""

    def __str__(self) -> str:
        about = f' ({self.detail})' if self.detail else ''
        return (f'{self.status.value}{about}; {self.stats.iterations} iterations, cost {self.stats.cost[0]:.6g} -> '
                f'{self.stats.cost[-1]:.6g}' if self.stats.cost else f'{self.status.value}{about}')
