"""Interpolating and approximating curves: cubic Hermite in vector spaces, cumulative B-splines on Lie groups."""
from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from pypose_core.lie.checking import is_SE3
from pypose_core.lie.group import LieGroup


def _grid(interval: float, like: Tensor) -> Tensor:
    if not 0 < interval < 1:
        raise ValueError(f'the interval must be between 0 and 1, got {interval}')
    # As many as fit below 1: ceil, with the last one dropped where rounding alone keeps it below.
    count = math.ceil(1 / interval - 1e-9)
    return torch.arange(count, dtype=like.dtype, device=like.device) * interval


def chspline(points: Tensor, interval: float = 0.1) -> Tensor:
    """A cubic Hermite spline through points one second apart, with the central differences as their slopes.

    Args:
        points: (..., N, d), N >= 2.
        interval: of the samples, in (0, 1).

    Returns:
        (..., (N - 1) K + 1, d): K samples from each point on, and the last point.
    """
    steps = _grid(interval, points)
    n = points.shape[-2]
    t = (torch.arange(n - 1, dtype=points.dtype, device=points.device).unsqueeze(-1) + steps).flatten()
    t = torch.cat([t, t.new_full((1,), n - 1)])
    return HermiteSpline(points)(t)


class HermiteSpline:
    """The cubic Hermite spline through points at given times.

        p(t) = h₀₀(τ) p_i + h₁₀(τ) Δ m_i + h₀₁(τ) p_{i+1} + h₁₁(τ) Δ m_{i+1},   τ = (t - t_i) / Δ

    Its velocity is continuous.

    Args:
        points: (..., N, d), N >= 2.
        times: (N,) increasing, seconds; default 0, 1, 2, ...
        slopes: m (..., N, d) per second; default the mean of the neighbouring difference quotients, at the ends the
            one that there is.
    """

    def __init__(self, points: Tensor, times: Tensor | None = None, slopes: Tensor | None = None):
        if points.dim() < 2 or points.shape[-2] < 2:
            raise ValueError(f'points must be (..., N, d) with N >= 2, got {tuple(points.shape)}')
        n = points.shape[-2]
        times = torch.arange(n, dtype=points.dtype, device=points.device) if times is None else times
        if times.shape != (n,) or not bool((times.diff() > 0).all()):
            raise ValueError(f'times must be {n} increasing numbers')
        if slopes is None:
            m = points.diff(dim=-2) / times.diff().unsqueeze(-1)
            slopes = torch.cat([m[..., :1, :], (m[..., 1:, :] + m[..., :-1, :]) / 2, m[..., -1:, :]], -2)
        self.points, self.times, self.slopes = points, times, slopes

    def __call__(self, t: Tensor, order: int = 0) -> Tensor:
        """The curve (..., M, d) at times t (M,), or its derivative of order 1 or 2: velocity or acceleration.

        Outside of the times the end pieces continue.
        """
        i = torch.searchsorted(self.times, t.detach().contiguous(), right=True).clamp(1, len(self.times) - 1) - 1
        step = self.times[i + 1] - self.times[i]
        s = (t - self.times[i]) / step
        zero, one = torch.zeros_like(s), torch.ones_like(s)
        powers = {0: (one, s, s ** 2, s ** 3), 1: (zero, one, 2 * s, 3 * s ** 2), 2: (zero, zero, 2 * one, 6 * s)}
        if order not in powers:
            raise ValueError(f'order must be 0, 1 or 2, got {order}')
        u = powers[order]
        basis = (u[0] - 3 * u[2] + 2 * u[3], (u[1] - 2 * u[2] + u[3]) * step,
                 3 * u[2] - 2 * u[3], (u[3] - u[2]) * step)
        terms = (self.points[..., i, :], self.slopes[..., i, :], self.points[..., i + 1, :], self.slopes[..., i + 1, :])
        return sum(b.unsqueeze(-1) * term for b, term in zip(basis, terms)) / step.unsqueeze(-1) ** order


def bspline(data: LieGroup, interval: float = 0.1, extrapolate: bool = False) -> LieGroup:
    """A cubic B-spline of poses one second apart.

    Args:
        data: SE3 (..., N, 7), N >= 4.
        interval: of the samples, in (0, 1).
        extrapolate: repeat the end poses, so that the curve goes from the first to the last pose; N >= 1 then.

    Returns:
        SE3 (..., (N - 3) K + 1, 7): K samples of each segment, and the end. A segment lies near its two middle
        poses of four; N counts the repeated ones.
    """
    if not is_SE3(data):
        raise TypeError('the poses must be an SE3 LieTensor')
    if extrapolate:
        first, last = data[..., :1, :], data[..., -1:, :]
        data = cast(LieGroup, torch.cat([first, first, data, last, last], -2))
    spline = BSpline(data)
    steps = _grid(interval, data.tensor())
    segments = data.shape[-2] - 3
    t = (torch.arange(segments, dtype=data.dtype, device=data.device).unsqueeze(-1) + steps).flatten()
    return spline(torch.cat([t, t.new_full((1,), segments)]))


class BSpline:
    """A cumulative cubic B-spline on any Lie group, with body velocities and accelerations in closed form.

        X(t) = X_i Exp(λ₁(u) d₁) Exp(λ₂(u) d₂) Exp(λ₃(u) d₃),  d_j = Log(X_{i+j-1}⁻¹ X_{i+j}),  u = t / Δ - i

    Velocity and acceleration are continuous; the curve does not go through the control points.

    Args:
        controls: (..., N, width), N >= 4.
        interval: Δ between controls, seconds. Segment i is for t in [i Δ, (i + 1) Δ), i = 0 .. N - 4.

    Source: Sommer et al., Efficient derivative computation for cumulative B-splines on Lie groups, CVPR 2020.
    """

    def __init__(self, controls: LieGroup, interval: float = 1.0):
        if controls.dim() < 2 or controls.shape[-2] < 4:
            raise ValueError(f'a cubic B-spline needs at least 4 poses, got the shape {tuple(controls.shape)}')
        self.controls, self.interval = controls, interval
        self._steps = controls[..., :-1, :].between(controls[..., 1:, :]).Log()
        self._algebra = type(self._steps)

    def _locate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s = t / self.interval
        i = s.detach().floor().long().clamp(0, self.controls.shape[-2] - 4)
        return i, s - i

    def _coefficients(self, u: Tensor, order: int) -> list[Tensor]:
        """λ₁, λ₂, λ₃ (M, 1), or their derivatives by t."""
        zero, one = torch.zeros_like(u), torch.ones_like(u)
        p = ((one, u, u ** 2, u ** 3), (zero, one, 2 * u, 3 * u ** 2), (zero, zero, 2 * one, 6 * u))[order]
        rows = ((5, 3, -3, 1), (1, 3, 3, -2), (0, 0, 0, 1))
        scale = 6 * self.interval ** order
        return [(torch.stack(p, -1) * u.new_tensor(row)).sum(-1, keepdim=True) / scale for row in rows]

    def __call__(self, t: Tensor) -> LieGroup:
        """The curve at times t (M,): (..., M, width). Before 0 and after the end the end segments continue."""
        i, u = self._locate(t)
        X = self.controls[..., i, :]
        for j, c in enumerate(self._coefficients(u, 0)):
            X = X @ self._algebra(c * self._steps.tensor()[..., i + j, :]).Exp()
        return X

    def velocity(self, t: Tensor) -> Tensor:
        """v with X⁻¹ dX/dt = hat(v), in the body's frame: (..., M, dof)."""
        return self.derivatives(t)[1]

    def derivatives(self, t: Tensor) -> tuple[LieGroup, Tensor, Tensor]:
        """The curve, its body velocity v and dv/dt at times t (M,)."""
        i, u = self._locate(t)
        X = self.controls[..., i, :]
        steps = self._steps.tensor()
        v = a = torch.zeros_like(steps[..., i, :])
        for j, (c, dc, ddc) in enumerate(zip(*(self._coefficients(u, order) for order in (0, 1, 2)))):
            d = steps[..., i + j, :]
            A = self._algebra(c * d).Exp()
            # v' = Ad(A⁻¹) v + λ̇ d; the derivative of Ad(A⁻¹) is -λ̇ ad(d) Ad(A⁻¹).
            carried = A.AdjT(self._algebra(v)).tensor()
            a = A.AdjT(self._algebra(a)).tensor() + dc * _bracket(self._algebra, carried, d) + ddc * d
            v = carried + dc * d
            X = X @ A
        return X, v, a


def _bracket(algebra: Any, x: Tensor, y: Tensor) -> Tensor:
    """The Lie bracket [x, y] by the commutator of matrices: (..., dof), (..., dof) -> (..., dof)."""
    a, b = algebra(x).hat(), algebra(y).hat()
    return algebra.operations.vee(a @ b - b @ a)
