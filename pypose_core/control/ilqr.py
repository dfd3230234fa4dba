"""Iterative LQR: a local optimum of a quadratic cost along a nonlinear system, with bounds on the inputs.

Each iteration linearizes the system along the present trajectory, solves the LQ problem (bounds included), and
follows its inputs and gains along the system itself, with the longest step of 1, 1/2, 1/4, ... that lowers the
cost. Where none does, the next problem is held to the present trajectory by a proximal weight. All of a batch at
once, each problem with its own step and weight.

Source: Li and Todorov, Iterative linear quadratic regulator design for nonlinear biological movement systems, 2004.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.control.bounded import solve_bounded_lqr
from pypose_core.control.horizon import Horizon, total_cost
from pypose_core.control.riccati import solve_lqr

STEPS = tuple(0.5 ** i for i in range(10))


@dataclass(frozen=True)
class Trajectory:
    """Where the iterations ended."""

    x: Tensor
    """States (B, T+1, n)."""
    u: Tensor
    """Inputs (B, T, m)."""
    cost: Tensor
    """(B,)"""
    converged: Tensor
    """Whether the last full step changed no input by more than rounding (B,)."""
    iterations: int
    """Number of LQ problems solved for the batch."""


def iterate(horizon: Horizon, Q: Tensor, p: Tensor, x0: Tensor, u: Tensor, *, bounds=None, change=None,
            stepper=None) -> Trajectory:
    """Improve the inputs u (B, T, m) until they are optimal, or the stepper ends it.

    Args:
        bounds: lower and upper (B, T, m), or None.
        change: the most that an input may change in one iteration, or None.
        stepper: `ReduceToBason`, or of its methods; it is stepped with the costs (B,).
    """
    lower, upper = bounds or (None, None)
    x, u = horizon.rollout(x0, u, None, lower, upper)
    cost = total_cost(Q, p, x, u)
    precision = torch.finfo(u.dtype).eps ** 0.6
    scale = torch.diagonal(Q, dim1=-2, dim2=-1).mean((-2, -1)).expand(len(cost)).clamp_min(1e-12)
    weight, last = torch.zeros_like(cost), torch.zeros_like(cost)
    converged, count, proximal = torch.zeros_like(cost, dtype=torch.bool), 0, False
    while not bool(converged.all()) and (stepper is None or stepper.continual()):
        count += 1
        solution = _subproblem(horizon, Q, p, x, u, weight if proximal else None, x0, bounds, change)
        nominal, new_x, new_u, new_cost = x[:, :-1], x, u, cost
        open_ = ~converged
        # u_lq - K (x_lq - x̄): the inputs of the LQ solution, seen from the nominal states.
        target = solution.u - (solution.K @ (solution.x[:, :-1] - nominal).unsqueeze(-1)).squeeze(-1)
        change_norm = (solution.u - u).abs().amax((-2, -1))
        small = change_norm <= precision * (1 + u.abs().amax((-2, -1)))
        for step in STEPS:
            trial = target if step == 1 else torch.lerp(u, target, step)
            trial_x, trial_u = horizon.rollout(x0, trial, (solution.K, nominal), *_within(bounds, change, u))
            trial_cost = total_cost(Q, p, trial_x, trial_u)
            better = open_ & (trial_cost <= cost + precision * cost.abs() * (step == 1))
            if step == 1 and bool(better.all()):
                new_x, new_u, new_cost, open_ = trial_x, trial_u, trial_cost, ~better
                break
            new_x = torch.where(better[:, None, None], trial_x, new_x)
            new_u = torch.where(better[:, None, None], trial_u, new_u)
            new_cost = torch.where(better, trial_cost, new_cost)
            open_ = open_ & ~better
            if not bool(open_.any()):
                break
        converged = converged | (small & (weight == 0))
        if bool(open_.any()) or proximal:
            grown = torch.where(weight == 0, 1e-2 * scale, weight * 10)
            weight = torch.where(open_, grown, torch.where(weight < 1e-6 * scale, 0 * weight, weight / 10))
            converged = converged | (weight > 1e8 * scale)
            proximal = bool((weight > 0).any())
        last = cost - new_cost
        x, u, cost = new_x, new_u, new_cost
        if stepper is not None:
            stepper.step(cost)
    return Trajectory(x, u, cost, converged & (last <= precision * (1 + cost.abs())), count)


def _within(bounds, change, u: Tensor):
    """The box for one iteration's inputs."""
    if bounds is None and change is None:
        return None, None
    lower, upper = bounds if bounds is not None else (torch.full_like(u, -torch.inf), torch.full_like(u, torch.inf))
    if change is None:
        return lower, upper
    return torch.maximum(lower, u - change), torch.minimum(upper, u + change)


def _subproblem(horizon: Horizon, Q, p, x, u, weight, x0, bounds, change):
    """The LQ problem about (x, u), held to it by ½ weight |τ - τ̄|²."""
    A, B, c = horizon.linearize(x[:, :-1], u)
    if weight is not None:
        tau = torch.cat([x[:, :-1], u], -1)
        held = weight[:, None, None]
        Q = Q + held[..., None] * torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
        p = p - held * tau
    lower, upper = _within(bounds, change, u)
    if lower is None:
        return solve_lqr(Q, p, A, B, c, x0, u.shape[1], gains=True)
    return solve_bounded_lqr(Q, p, A, B, c, x0, u.shape[1], lower, upper)
