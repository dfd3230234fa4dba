"""Robust kernels ρ: the loss of a residual r is ρ(x) with x = rᵀ W r ≥ 0.

All but Scale and SoftLOne (at δ other than 1) have ρ(x) ≈ x for small x. Forms and constants of the first
seven are PyPose's; those of the others are scaled likewise.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class Kernel(nn.Module):
    """A function of squared residual norms, element by element. A kernel defines rho()."""

    def rho(self, x: Tensor) -> Tensor:
        """ρ(x) for x >= 0, unchecked."""
        raise TypeError(f'{type(self).__name__} defines no rho(x)')

    def forward(self, input: Tensor) -> Tensor:
        """ρ(input), of any shape.

        Raises:
            ValueError: an element of input is negative.
        """
        if bool((input < 0).any()):
            raise ValueError(f'a kernel takes squared norms; the smallest given is {float(input.min())}')
        return self.rho(input)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f'{name} has to be positive: {value}')
    return value


class _Delta(Kernel):
    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.delta = _positive('delta', delta)
        self.delta2 = delta ** 2

    def extra_repr(self) -> str:
        return f'delta={self.delta}'


class Huber(_Delta):
    """x where √x < δ, beyond it 2 δ √x - δ²: outliers count linearly."""

    def rho(self, x: Tensor) -> Tensor:
        inside = x < self.delta2
        # Both branches are differentiated: the root must not see 0.
        root = torch.where(inside, self.delta2, x).sqrt()
        return torch.where(inside, x, 2 * self.delta * root - self.delta2)


class PseudoHuber(_Delta):
    """2 δ² (√(1 + x/δ²) - 1): a smooth Huber."""

    def rho(self, x: Tensor) -> Tensor:
        return 2 * self.delta2 * ((x / self.delta2 + 1).sqrt() - 1)


class Cauchy(_Delta):
    """δ² log(1 + x/δ²)."""

    def rho(self, x: Tensor) -> Tensor:
        return self.delta2 * torch.log1p(x / self.delta2)


class SoftLOne(_Delta):
    """2 (δ √(1/δ² + x) - 1)."""

    def rho(self, x: Tensor) -> Tensor:
        return 2 * (self.delta * (1 / self.delta2 + x).sqrt() - 1)


class Arctan(Kernel):
    """δ² arctan(x/δ²): an outlier counts at most π/2 δ²."""

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if delta == 0:
            raise ValueError('delta must not be zero')
        self.delta2 = delta ** 2

    def rho(self, x: Tensor) -> Tensor:
        return self.delta2 * (x / self.delta2).arctan()


class Tolerant(Kernel):
    """b log(1 + exp((x - a)/b)) - b log(1 + exp(-a/b)) with a > 0 > b: flattens beyond a, over a width |b|."""

    def __init__(self, a: float = 1.0, b: float = -1.0) -> None:
        super().__init__()
        self.a = _positive('a', a)
        if not b < 0:
            raise ValueError(f'b has to be negative: {b}')
        self.b = b
        z = -a / b
        self.offset = b * (z + math.log1p(math.exp(-z)))

    def rho(self, x: Tensor) -> Tensor:
        return self.b * softplus((x - self.a) / self.b) - self.offset


class Scale(Kernel):
    """δ x with 0 < δ <= 1."""

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not 0 < delta <= 1:
            raise ValueError(f'delta has to be in (0, 1]: {delta}')
        self.delta = delta

    def rho(self, x: Tensor) -> Tensor:
        return self.delta * x


class Tukey(_Delta):
    """δ²/3 (1 - (1 - x/δ²)³) where √x < δ, beyond it constant: an outlier has no influence.

    Beaton and Tukey, "The fitting of power series", Technometrics 16 (1974), scaled so that ρ'(0) = 1.
    """

    def rho(self, x: Tensor) -> Tensor:
        return self.delta2 / 3 * (1 - (1 - x / self.delta2).clamp(min=0) ** 3)


class GemanMcClure(_Delta):
    """δ² x/(δ² + x): an outlier counts at most δ².

    Geman and McClure, "Statistical methods for tomographic image reconstruction" (1987), with ρ'(0) = 1.
    """

    def rho(self, x: Tensor) -> Tensor:
        return self.delta2 * x / (self.delta2 + x)


class Welsch(_Delta):
    """δ² (1 - exp(-x/δ²)): an outlier counts at most δ².

    Dennis and Welsch, "Techniques for nonlinear least squares and robust regression" (1978).
    """

    def rho(self, x: Tensor) -> Tensor:
        return -self.delta2 * torch.expm1(-x / self.delta2)
