"""The pieces that an optimal control problem is stated in."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LeastSquares:
    """A cost ½ |r|². Its Hessian is taken as JᵀJ (Gauss-Newton), which never is indefinite."""

    residual: Callable
    """r(x, u, p) of a stage, r(x, p) at the end; (..., any number)."""


@dataclass(frozen=True)
class Cost:
    """A cost of any form, with its exact Hessian."""

    value: Callable
    """l(x, u, p) of a stage, l(x, p) at the end; (...)."""


@dataclass(frozen=True)
class Soft:
    """Lets a constraint be violated by ε ≥ 0 at the price linear · ε + ½ quadratic · ε²."""

    linear: float = 0.0
    """Above the constraint's multiplier, it is an exact penalty: no violation where none is needed."""
    quadratic: float = 0.0

    def __post_init__(self):
        if self.linear < 0 or self.quadratic < 0 or self.linear + self.quadratic <= 0:
            raise ValueError(f'the price of a violation must be positive, not {self.linear}, {self.quadratic}')


@dataclass(frozen=True)
class Constraint:
    """lower ≤ d ≤ upper, by the name that messages have it."""

    name: str
    function: Callable
    lower: float | Tensor = -math.inf
    """A number, (rows,), or (N + 1, rows)."""
    upper: float | Tensor = math.inf
    soft: Soft | None = None


class StageConstraint(Constraint):
    """lower ≤ d(x_k, u_k, p_k) ≤ upper at k = 0 … N-1."""


class StateConstraint(Constraint):
    """lower ≤ d(x_k, p_k) ≤ upper at k = 1 … N."""


@dataclass(frozen=True)
class Box:
    """lower ≤ value ≤ upper for the numbers of a control, a state (k = 1 … N), or the change of a control."""

    lower: float | Tensor = -math.inf
    upper: float | Tensor = math.inf
    soft: Soft | None = None
    """Not for controls: a control within its bounds always exists."""
