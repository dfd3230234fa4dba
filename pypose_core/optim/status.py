"""Why an optimization stopped, and what it returns."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Status(Enum):
    """State of an optimization; the value is a sentence."""
    RUNNING = 'the last step reduced the loss; more steps may reduce it further'
    GRADIENT = 'converged: the gradient is zero to tolerance'
    DECREASE = 'converged: the last step reduced the loss by less than the tolerance'
    STEP = 'converged: the last step was shorter than the tolerance'
    STALLED = 'stopped: no step that was tried reduced the loss'
    SINGULAR = 'stopped: the linear system could not be solved; some parameter may be without constraint'
    NONFINITE = 'stopped: the residual or its Jacobian is not finite'
    MAX_ITERATIONS = 'stopped: the maximum number of iterations is reached'

    def __str__(self) -> str:
        return self.value

    @property
    def code(self) -> int:
        """Place in the order of definition: how tensors of states hold it."""
        return list(Status).index(self)

    @property
    def finished(self) -> bool:
        """Whether further steps are pointless."""
        return self is not Status.RUNNING

    @property
    def converged(self) -> bool:
        """Whether it finished at a minimum (or another stationary point)."""
        return self in (Status.GRADIENT, Status.DECREASE, Status.STEP)


STATUSES = tuple(Status)


@dataclass(frozen=True)
class Tolerance:
    """When a problem counts as converged. None is ever taken below 10 rounding units of the dtype."""
    gradient: float = 1e-10
    """Largest |J_jᵀ r| / (|J_j| |r|) over the columns j: the cosine between residual and column, as MINPACK."""
    decrease: float = 1e-12
    """Decrease of the loss in a step, relative to the loss: ten steps of it are no visible change."""
    step: float = 1e-12
    """Largest number of a step in the tangent space (radians, metres, ... as the parameters have)."""

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f'the tolerance of {name} must not be negative: {value}')


@dataclass(frozen=True)
class Stats:
    """How an optimization went."""
    iterations: int
    """Steps done, each with one linearization."""
    costs: Tensor
    """Loss before the first step and after each; (iterations + 1)."""
    states: tuple[Status, ...]
    """State of each independent problem; one if there is no structure."""
    structure: str
    """What is known about the Jacobian's structure, a sentence."""
    seconds: float
    """Wall time."""


@dataclass(frozen=True)
class Result:
    """What an optimization returns."""
    value: Tensor
    """Loss at the end: Σ ρ(rᵀ W r); NaN where there was no step."""
    status: Status
    """Of the problem that fared worst."""
    stats: Stats
    """How it went."""

    def __str__(self) -> str:
        return f'{self.status} (loss {float(self.value):.6g}, {self.stats.iterations} iterations)'
