"""Products of nonnegative numbers and second-order cones, with Nesterov and Todd's scaling.

A vector (m,) has the nonnegative rows first, then the cones {(t, v): |v| ≤ t} one after the other. J is diag(1, -1, …).

Source: Vandenberghe, "The CVXOPT linear and quadratic cone program solvers" (2010), sections 4 and 5.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Cones:
    """The product of `nonnegative` half lines and of second-order cones of the given sizes (at least 2 each)."""

    def __init__(self, nonnegative: int, second_order: Sequence[int] = ()):
        if nonnegative < 0 or any(size < 2 for size in second_order):
            raise ValueError(f'{nonnegative} nonnegative rows and cones of {list(second_order)} rows: the first must '
                             'not be negative, the others at least 2')
        sizes = torch.tensor(list(second_order), dtype=torch.int64)
        self.linear, self.count = nonnegative, len(sizes)
        self.rows = nonnegative + int(sizes.sum())
        self.degree = nonnegative + self.count
        self.heads = nonnegative + sizes.cumsum(0) - sizes      # row of each cone's t
        self.owner = torch.repeat_interleave(torch.arange(self.count), sizes)   # cone of each row after the linear ones

    def identity(self) -> Tensor:
        """e (m,), with e ∘ x = x."""
        e = torch.zeros(self.rows, dtype=torch.float64)
        e[:self.linear] = 1
        e[self.heads] = 1
        return e

    def reflected(self, x: Tensor) -> Tensor:
        """J x of the cones' rows (of all but the linear ones)."""
        y = -x[self.linear:]
        y[self.heads - self.linear] = x[self.heads]
        return y

    def dots(self, x: Tensor, y: Tensor) -> Tensor:
        """xᵀ y of each cone (cones,)."""
        return x.new_zeros(self.count).index_add_(0, self.owner, x[self.linear:] * y[self.linear:])

    def tails(self, x: Tensor) -> Tensor:
        """|v| of each cone's (t, v)."""
        v = x.clone()
        v[self.heads] = 0
        return self.dots(v, v).sqrt()

    def margins(self, x: Tensor) -> Tensor:
        """How far inside x is: the rows themselves, and t - |v| (linear + cones,)."""
        return torch.cat([x[:self.linear], x[self.heads] - self.tails(x)])

    def determinants(self, x: Tensor) -> Tensor:
        """t² - |v|² of each cone."""
        t, v = x[self.heads], self.tails(x)
        return (t - v) * (t + v)

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """x ∘ y: elementwise, and (xᵀy, x_t y_v + y_t x_v)."""
        z = x * y
        if self.count:
            z[self.linear:] = x[self.heads][self.owner] * y[self.linear:] + y[self.heads][self.owner] * x[self.linear:]
            z[self.heads] = self.dots(x, y)
        return z

    def quotient(self, x: Tensor, d: Tensor) -> Tensor:
        """y with x ∘ y = d, for x inside."""
        y = d / x
        if self.count:
            xt, dt = x[self.heads], d[self.heads]
            head = (2 * xt * dt - self.dots(x, d)) / self.determinants(x)
            y[self.linear:] = (d[self.linear:] - head[self.owner] * x[self.linear:]) / xt[self.owner]
            y[self.heads] = head
        return y

    def longest(self, x: Tensor, dx: Tensor) -> float:
        """The largest α with x + α dx in the cone, for x inside; infinity where all do."""
        ratio = (-dx[:self.linear] / x[:self.linear]).max().item() if self.linear else 0.0
        found = 1 / ratio if ratio > 0 else torch.inf
        if self.count:      # in coordinates where x is the identity, dx has the eigenvalue ρ_t - |ρ_v|
            root = self.determinants(x).sqrt()
            u, d = (y[self.linear:] / root[self.owner] for y in (x, dx))
            heads, zero = self.heads - self.linear, x[:self.linear]
            head = 2 * u[heads] * d[heads] - self.dots(torch.cat([zero, u]), torch.cat([zero, d]))
            rho = torch.cat([zero, d - ((head + d[heads]) / (u[heads] + 1))[self.owner] * u])
            ratio = (self.tails(rho) - head).max().item()
            found = min(found, 1 / ratio if ratio > 0 else torch.inf)
        return found

    def scaling(self, s: Tensor, z: Tensor) -> Scaling:
        """The symmetric W with W z = W⁻¹ s, for s and z inside."""
        lin = self.linear
        root = (s[:lin] / z[:lin]).sqrt()
        ds, dz = self.determinants(s).sqrt(), self.determinants(z).sqrt()
        w = s[lin:] / ds[self.owner]
        other = z[lin:] / dz[self.owner]
        both = torch.cat([s[:lin], w]), torch.cat([z[:lin], other])
        gamma = ((1 + self.dots(*both)) / 2).sqrt()
        w = (w + self.reflected(both[1])) / (2 * gamma[self.owner])
        return Scaling(self, root, (ds / dz).sqrt(), w)


@dataclass(frozen=True)
class Scaling:
    """W: √(s/z) of linear rows, and η (2 v vᵀ - J) of the cones with v = (w + e) / √(2 (w_t + 1))."""

    cones: Cones
    root: Tensor
    """(linear,)."""
    eta: Tensor
    """(cones,)."""
    w: Tensor
    """(rows of cones,), with wᵀ J w = 1."""

    def _half(self) -> Tensor:
        heads = self.cones.heads - self.cones.linear
        v = self.w.clone()
        v[heads] += 1
        return v / (2 * (self.w[heads] + 1)).sqrt()[self.cones.owner]

    def _through(self, x: Tensor, v: Tensor, factor: Tensor) -> Tensor:
        owner = self.cones.owner
        dots = x.new_zeros(self.cones.count).index_add_(0, owner, v * x[self.cones.linear:])
        return factor[owner] * (2 * dots[owner] * v - self.cones.reflected(x))

    def apply(self, x: Tensor) -> Tensor:
        """W x."""
        return torch.cat([self.root * x[:self.cones.linear], self._through(x, self._half(), self.eta)])

    def inverse(self, x: Tensor) -> Tensor:
        """W⁻¹ x."""
        lin = self.cones.linear
        v = self.cones.reflected(torch.cat([x[:lin], self._half()]))
        return torch.cat([x[:lin] / self.root, self._through(x, v, 1 / self.eta)])

    def square(self, x: Tensor) -> Tensor:
        """W² x."""
        return self.apply(self.apply(x))

    def inverse_square(self) -> tuple[Tensor, Tensor, Tensor]:
        """W⁻² = diag(ω) + Σ_k c_k v_k v_kᵀ: ω (m,), v (m,), c (cones,)."""
        cones, lin = self.cones, self.cones.linear
        per_row = (1 / self.eta ** 2)[cones.owner]
        omega = torch.cat([self.root ** -2, per_row])
        omega[cones.heads] *= -1
        v = torch.cat([torch.zeros_like(self.root), self.w])
        v[lin:] = cones.reflected(v)
        return omega, v, 2 / self.eta ** 2
