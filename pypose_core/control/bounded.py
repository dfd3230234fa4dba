"""Linear-quadratic optimal control with bounds on the inputs, as a differentiable function.

A primal-dual interior point method. Bounds change only the inputs' part of the Riccati recursion: eliminating the
multipliers z of u >= l (slack s) adds z/s to the diagonal of the inputs' weight, so each Newton step is one LQR of
the batch. The gradient is that of a last Newton step at the solution, in which the weights z/s hold active inputs
and leave the others free: implicit differentiation of the KKT system.

Source: Mehrotra, On the implementation of a primal-dual interior point method, 1992; Rao, Wright and Rawlings,
Application of interior-point methods to model predictive control, 1998.
"""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.control.horizon import total_cost
from pypose_core.control.riccati import LqrSolution, solve_lqr

ITERATIONS = 60
GAP = 1e-11
"""Complementarity s z at which the method ends, relative to the size of the gradient."""


class _Barrier:
    """Slacks and multipliers of one side of the box; `sign` is 1 for u >= bound, -1 for u <= bound."""

    def __init__(self, bound: Tensor, sign: int, u: Tensor, start: float | Tensor):
        self.bound, self.sign = bound, sign
        self.present = torch.isfinite(bound)
        self.s = self._slack(u)
        self.z = torch.where(self.present, start / self.s, torch.zeros_like(u))

    def _slack(self, u: Tensor) -> Tensor:
        """The distance to the bound, kept where no rounding can make it zero; 1 where there is no bound."""
        distance = (self.sign * (u - self.bound)).clamp_min(1e-14)
        return torch.where(self.present, distance, torch.ones_like(u))

    @property
    def weight(self) -> Tensor:
        return self.z / self.s

    def force(self, target: Tensor) -> Tensor:
        """What the barrier adds to the gradient by u besides weight (u_new - u), for s z = target."""
        return torch.where(self.present, -self.sign * target / self.s, torch.zeros_like(self.s))

    def direction(self, du: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        ds = torch.where(self.present, self.sign * du, torch.zeros_like(du))
        dz = torch.where(self.present, (target - self.s * self.z - self.z * ds) / self.s, torch.zeros_like(du))
        return ds, dz

    def longest(self, ds: Tensor, dz: Tensor) -> Tensor:
        """The longest step (B,) that keeps s and z from becoming negative."""
        limit = torch.minimum(torch.where(ds < 0, -self.s / ds, torch.full_like(ds, torch.inf)),
                              torch.where(dz < 0, -self.z / dz, torch.full_like(dz, torch.inf)))
        return limit.amin((-2, -1))

    def move(self, u: Tensor, dz: Tensor, step: Tensor) -> None:
        self.s = self._slack(u)
        self.z = torch.where(self.present, (self.z + step * dz).clamp_min(0), self.z)


def _with_barriers(Q: Tensor, p: Tensor, u: Tensor, sides: list[_Barrier],
                   targets: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Q and p of the LQR problem whose solution is the Newton step's, in absolute inputs."""
    n = Q.shape[-1] - u.shape[-1]
    weight = sides[0].weight + sides[1].weight
    force = sum(side.force(target) for side, target in zip(sides, targets)) - weight * u
    return (Q + torch.diag_embed(torch.nn.functional.pad(weight, (n, 0))),
            p + torch.nn.functional.pad(force, (n, 0)))


def solve_bounded_lqr(Q: Tensor, p: Tensor, A: Tensor, B: Tensor, c: Tensor, x0: Tensor, steps: int, lower: Tensor,
                      upper: Tensor) -> LqrSolution:
    """solve_lqr() with lower <= u <= upper; both (B, T, m), infinite where there is no bound.

    Works in float64 and returns the dtype given. K and k are those at the solution: K is zero, to rounding, for
    inputs at a bound.

    Raises:
        ValueError: a lower bound above its upper one.
    """
    if bool((lower > upper).any()):
        raise ValueError('u_lower is above u_upper')
    dtype, batch = x0.dtype, max(z.shape[0] for z in (Q, p, A, B, c, x0, lower, upper))
    A, B, c, x0 = (z.double() for z in (A, B, c, x0))
    Q, p, lower, upper = (z.double().expand(batch, steps, *z.shape[2:]) for z in (Q, p, lower, upper))
    with torch.no_grad():
        fixed = (Q.detach(), p.detach(), A.detach(), B.detach(), c.detach(), x0.detach())
        u, sides, gap = _interior_point(fixed, steps, lower.detach(), upper.detach())
        # A last Newton step gives gains, multipliers and, differentiated, the gradient.
        targets = [gap.expand_as(u)] * 2
    Q_u, p_u = _with_barriers(Q, p, u, sides, targets)
    for side, bound in zip(sides, (lower, upper)):
        if bound.requires_grad:   # u >= l pulls with weight (l - l*)
            moved = torch.where(side.present, side.weight * (bound - bound.detach()), torch.zeros_like(bound))
            p_u = p_u - torch.nn.functional.pad(moved, (Q.shape[-1] - u.shape[-1], 0))
    newton = solve_lqr(Q_u, p_u, A, B, c, x0, steps, gains=True)
    assert newton.K is not None and newton.k is not None        # gains=True
    inputs = torch.minimum(torch.maximum(u, lower.detach()), upper.detach()) + (newton.u - newton.u.detach())
    states = [x0.expand(batch, -1)]
    with torch.no_grad():
        for t in range(steps):
            At, Bt, ct = (z[:, t if z.shape[1] > 1 else 0] for z in (A, B, c))
            states.append((At @ states[-1].unsqueeze(-1) + Bt @ inputs[:, t, :, None]).squeeze(-1) + ct)
    x = torch.stack(states, 1).detach() + (newton.x - newton.x.detach())
    cost = total_cost(Q, p, x, inputs)
    return LqrSolution(*(z.to(dtype) for z in (x, inputs, cost, newton.multipliers, newton.K, newton.k)))


def _interior_point(problem: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], steps: int, lower: Tensor,
                    upper: Tensor):
    """Inputs near the optimum, the two sides' slacks and multipliers, and the remaining gap."""
    Q, p = problem[:2]
    scale = 1 + p.abs().amax((-2, -1), keepdim=True) + Q.abs().amax((-2, -1)).amax(-1)[:, None, None]
    width = torch.where(torch.isfinite(upper - lower), upper - lower, torch.full_like(lower, 2.0))
    room = 0.1 * width.clamp(1e-9, 2.0)     # an empty box is widened by rounding
    u = solve_lqr(*problem, steps).u
    middle = torch.where(torch.isfinite(upper - lower), (lower + upper) / 2, u)
    u = torch.where(width < 1e-8, middle, torch.minimum(torch.maximum(u, lower + room), upper - room))
    sides = [_Barrier(lower, 1, u, scale * 0.1), _Barrier(upper, -1, u, scale * 0.1)]
    count = torch.stack([side.present.sum((-2, -1)) for side in sides]).sum(0).clamp_min(1)[:, None, None]

    def gap_of(pairs) -> Tensor:
        return sum((s * z).sum((-2, -1), keepdim=True) for s, z in pairs) / count

    for _ in range(ITERATIONS):
        gap = gap_of([(torch.where(side.present, side.s, torch.zeros_like(u)), side.z) for side in sides])
        # The first step goes for the end, the second for the centre that the first one's success allows.
        zero = torch.zeros_like(u)
        trial = solve_lqr(*_with_barriers(Q, p, u, sides, [zero, zero]), *problem[2:], steps)
        steps_of = [side.direction(trial.u - u, zero) for side in sides]
        reach = torch.stack([side.longest(*d) for side, d in zip(sides, steps_of)]).amin(0).clamp_max(1)[:, None, None]
        ahead = gap_of([(torch.where(side.present, side.s + reach * ds, zero), side.z + reach * dz)
                        for side, (ds, dz) in zip(sides, steps_of)])
        centre = gap * (ahead / gap.clamp_min(1e-300)).clamp(0, 1) ** 3
        targets = [centre - ds * dz for ds, dz in steps_of]
        full = solve_lqr(*_with_barriers(Q, p, u, sides, targets), *problem[2:], steps)
        steps_of = [side.direction(full.u - u, target) for side, target in zip(sides, targets)]
        reach = torch.stack([side.longest(*d) for side, d in zip(sides, steps_of)]).amin(0)
        step = (0.995 * reach).clamp_max(1)[:, None, None]
        u = u + step * (full.u - u)
        for side, (_, dz) in zip(sides, steps_of):
            side.move(u, dz, step)
        if bool(((gap < GAP * scale) & (step > 0.9)).all()):
            break
    return u, sides, gap_of([(torch.where(side.present, side.s, torch.zeros_like(u)), side.z) for side in sides])
