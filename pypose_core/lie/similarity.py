"""Coefficients of Sim(3): what a twist with scale integrates to.

W(φ, σ) = ∫₀¹ exp(u (σ I + [φ]×)) du = C I + A [φ]× + B [φ]×²  is a matrix of the integrals

    I(p, k) = ∫₀¹ u^p e^{uσ} c_k(u² x) du,   x = |φ|²,   A = I(1, 1), B = I(2, 2), C = ∫ e^{uσ} du,
    ∂I(p, k)/∂σ = I(p + 1, k),   ∂I(p, k)/∂x = (k I(p + 2, k + 2) - I(p + 2, k + 1)) / 2,

whose integrands are entire: Gauss-Legendre quadrature with NODES nodes is exact to rounding for
|σ + iθ| <= 30, has no cancellation at x = 0 or σ = 0, and so has every derivative.
"""
import math

import torch
from torch import Tensor

from pypose_core.lie.stumpff import stumpff

NODES = 24


def _gauss_legendre(n: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1]: the roots of Legendre's polynomial by Newton's method."""
    nodes, weights = [], []
    for i in range(n):
        x = math.cos(math.pi * (i + 0.75) / (n + 0.5))
        for _ in range(10):
            p, before = 1.0, 0.0
            for j in range(n):
                p, before = ((2 * j + 1) * x * p - j * before) / (j + 1), p
            slope = n * (x * p - before) / (x * x - 1)
            x -= p / slope
        nodes.append((1 + x) / 2)
        weights.append(1 / ((1 - x * x) * slope * slope))
    return nodes, weights


_NODE, _WEIGHT = _gauss_legendre(NODES)


class Integrals:
    """I(p, k) at given x and σ, both (..., 1); `top` is the highest k asked for."""

    def __init__(self, x: Tensor, sigma: Tensor, top: int):
        self.u = torch.tensor(_NODE, dtype=x.dtype, device=x.device)
        self.density = torch.tensor(_WEIGHT, dtype=x.dtype, device=x.device) * (self.u * sigma).exp()
        self.c = stumpff(self.u * self.u * x, top)

    def __call__(self, p: int, k: int) -> Tensor:
        return (self.density * self.u ** p * self.c[k]).sum(-1, keepdim=True)

    def power(self, p: int) -> Tensor:
        """∫ u^p e^{uσ} du."""
        return (self.density * self.u ** p).sum(-1, keepdim=True)

    def w(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, B, C."""
        return self(1, 1), self(2, 2), self.power(0)

    def w_x(self) -> tuple[Tensor, Tensor]:
        """∂A/∂x and ∂B/∂x; C has none."""
        return (self(3, 3) - self(3, 2)) / 2, self(4, 4) - self(4, 3) / 2

    def w_sigma(self) -> tuple[Tensor, Tensor, Tensor]:
        """∂A/∂σ, ∂B/∂σ, ∂C/∂σ."""
        return self(2, 1), self(3, 2), self.power(1)


def inverse(x: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for W⁻¹ = C' I + A' [φ]× + B' [φ]×²: returns A', B', C'.

    On the axis W is C, on the plane across it the complex number (C - B x) + i A θ; inverting both
    and matching gives forms without cancellation.
    """
    across = C - B * x
    square = across * across + A * A * x
    return -A / square, (A * A - B * across) / (C * square), 1 / C
