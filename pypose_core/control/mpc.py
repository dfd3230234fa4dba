"""Model predictive control in PyPose's form: iterative LQR, differentiable at its solution."""
from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pypose_core.control.bounded import _Barrier
from pypose_core.control.horizon import Horizon, total_cost
from pypose_core.control.ilqr import Trajectory, iterate
from pypose_core.control.lqr import LQR
from pypose_core.control.riccati import solve_lqr
from pypose_core.control.stepper import ReduceToBason
from pypose_core.control.traced_horizon import TracedHorizon, TracedStep, trace


class MPC(nn.Module):
    """minimize Σ_t ½ τ_tᵀ Q_t τ_t + p_tᵀ τ_t, τ_t = [x_t, u_t], along a nonlinear system.

    Args:
        system, Q, p, T: as in `LQR`.
        stepper: ends the iterations at the latest, `ReduceToBason(steps=10)` by default; used as a copy. They end
            by themselves at a solution.

    Each problem of a batch is solved by itself. Gradients are those of the solution, by implicit differentiation:
    its optimality conditions, with second derivatives of the system, are differentiated once; nothing is kept of
    the iterations. `MPC.trajectory` says whether the last call has converged.
    """

    def __init__(self, system, Q: Tensor, p: Tensor, T: int, stepper=None):
        super().__init__()
        self.stepper = copy.copy(stepper) if stepper is not None else ReduceToBason(steps=10)
        self.lqr = LQR(system, Q, p, T)
        self.trajectory: Trajectory | None = None
        self._traced: TracedStep | None = None

    def forward(self, dt: int | float, x_init: Tensor, u_init: Tensor | None = None, u_lower=None, u_upper=None,
                du=None) -> tuple[Tensor, Tensor, Tensor]:
        """The optimal trajectory from x_init.

        Args:
            dt: step; the system gets k dt as its time at step k.
            x_init: (B, n).
            u_init: (B, T, m) inputs to start from; default zero.
            u_lower, u_upper: bounds of the inputs, (B, T, m) or what broadcasts to it.
            du: the most that an input may change in one iteration.

        Returns:
            states x (B, T+1, n), inputs u (B, T, m), costs (B,).
        """
        Q, p, T = self.lqr.Q, self.lqr.p, self.lqr.T
        horizon, u, bounds = self.lqr._setup(x_init, dt, u_init, u_lower, u_upper, None)
        if horizon.linear:
            return self.lqr(x_init, dt, u, u_lower, u_upper)
        batch = torch.broadcast_shapes(x_init.shape[:1], self.lqr.n_batch)[0]
        with torch.no_grad():
            fixed = None if bounds is None else tuple(b.detach() for b in bounds)
            given = (Q.detach(), p.detach(), x_init.detach().expand(batch, -1), u.detach().expand(batch, T, -1))
            self.trajectory = self._iterate(horizon, given, bounds=fixed, change=du)
        x, u, cost = self.trajectory.x, self.trajectory.u, self.trajectory.cost
        if not torch.is_grad_enabled() or not _depends(horizon, (Q, p, x_init, *(bounds or ())), x, u):
            return x, u, cost
        return attach_gradient(horizon, Q, p, x_init.expand(batch, -1), x, u, cost, bounds)


    def _iterate(self, horizon: Horizon, given: tuple, **options) -> Trajectory:
        """iterate() along the system's tape where it has one that is still true, else along the system."""
        n, m = given[2].shape[-1], given[3].shape[-1]
        for fresh in (False, True):
            if fresh or self._traced is None:
                self._traced = trace(horizon.system, n, m, given[3])
            if self._traced is None:
                break
            fast = TracedHorizon(horizon, self._traced)
            self.stepper.reset()
            found = iterate(fast, *given, stepper=self.stepper, **options)
            if fast.agrees(horizon, found.x, found.u):
                return found
            self._traced = None
        self.stepper.reset()
        return iterate(horizon, *given, stepper=self.stepper, **options)


def attach_gradient(horizon: Horizon, Q: Tensor, p: Tensor, x0: Tensor, x: Tensor, u: Tensor, cost: Tensor,
                    bounds) -> tuple[Tensor, Tensor, Tensor]:
    """The solution (x, u), given without gradients, as a function of Q, p, x0, bounds and the system's parameters.

    One Newton step on the optimality conditions with the conditions' residual a function of the parameters and its
    matrix fixed: its derivative is that of the solution, by the implicit function theorem.
    """
    steps = u.shape[1]
    with torch.enable_grad():
        at_x, at_u = x[:, :-1].detach().requires_grad_(), u.detach().requires_grad_()
        f = horizon.step_all(at_x, at_u)
    A, B, _ = horizon.linearize(at_x.detach(), at_u.detach())
    fixed_Q, fixed_p = Q.detach().expand(len(x), -1, -1, -1), p.detach().expand(len(x), -1, -1)
    sides, weight = _active_sides(fixed_Q, fixed_p, A, B, x, u, bounds)
    multipliers = _costates(fixed_Q, fixed_p, A, x, u)
    with torch.enable_grad():
        pull = torch.autograd.grad((f * multipliers).sum(), (at_x, at_u), create_graph=True, materialize_grads=True)
        curvature = _curvature(pull, at_x, at_u)
        tau = torch.cat([x[:, :-1], u], -1)
        # ∂L/∂τ but for the multiplier of the state's own step, which no parameter moves.
        residual = (Q @ tau.unsqueeze(-1)).squeeze(-1) + p + torch.cat(pull, -1)
        residual = residual - residual.detach()
        if sides is not None:
            moved = sum(side.weight * torch.where(side.present, bound - bound.detach(), torch.zeros_like(u))
                        for side, bound in zip(sides, bounds))
            residual = residual - torch.nn.functional.pad(moved, (x.shape[-1], 0))
        defect, start = f - f.detach(), x0 - x0.detach()
        newton = _newton(fixed_Q + curvature, weight, fixed_Q, residual, A, B, defect, start, steps)
        x, u = x + newton.x - newton.x.detach(), u + newton.u - newton.u.detach()
        return x, u, total_cost(Q, p, x, u)


def _depends(horizon: Horizon, inputs: tuple, x: Tensor, u: Tensor) -> bool:
    """Whether anything asks for gradients: the inputs, or the system by what it holds."""
    if any(z.requires_grad for z in inputs):
        return True
    with horizon._lent_clock():
        return horizon.step(0, x[:, 0], u[:, 0]).requires_grad


def _costates(Q: Tensor, p: Tensor, A: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """λ_{t+1} for t = 0 .. T-1: λ_t = (Qτ + p)_x + A_tᵀ λ_{t+1}, λ_T = 0; (B, T, n)."""
    n = x.shape[-1]
    g = ((Q @ torch.cat([x[:, :-1], u], -1).unsqueeze(-1)).squeeze(-1) + p)[..., :n]
    found = [torch.zeros_like(x[:, 0])]
    for t in reversed(range(1, u.shape[1])):
        found.append(g[:, t] + (A[:, t].mT @ found[-1].unsqueeze(-1)).squeeze(-1))
    return torch.stack(found[::-1], 1)


def _active_sides(Q, p, A, B, x, u, bounds):
    """Bounds as stiff springs on the inputs that they hold: z/s is large there and zero elsewhere."""
    if bounds is None:
        return None, None
    n = x.shape[-1]
    g = ((Q @ torch.cat([x[:, :-1], u], -1).unsqueeze(-1)).squeeze(-1) + p)[..., n:]
    force = g + (B.mT @ _costates(Q, p, A, x, u).unsqueeze(-1)).squeeze(-1)    # ∂L/∂u: what the bounds hold
    sides = []
    for bound, sign in zip(bounds, (1, -1)):
        side = _Barrier(bound.detach(), sign, u, 1.0)
        size = 1 + u.abs()
        held = side.present & (side.s < 1e-7 * size) & (sign * force > 1e-9 * (1 + g.abs()))
        side.s, side.z = torch.ones_like(u), torch.where(held, 1e10 * (1 + Q.abs().amax()), torch.zeros_like(u))
        sides.append(side)
    return sides, sum(side.weight for side in sides)


def _curvature(pull: tuple[Tensor, ...], at_x: Tensor, at_u: Tensor) -> Tensor:
    """Σ_i λ_i ∂²f_i/∂τ² of each step (B, T, n+m, n+m), from the differentiable gradient of λᵀf."""
    g = torch.cat(pull, -1)
    if not g.requires_grad:
        return torch.zeros(*g.shape, g.shape[-1], dtype=g.dtype, device=g.device)
    rows = []
    for i in range(g.shape[-1]):
        parts = torch.autograd.grad(g[..., i].sum(), (at_x, at_u), retain_graph=True, allow_unused=True,
                                    materialize_grads=True)
        rows.append(torch.cat(parts, -1))
    H = torch.stack(rows, -2).detach()
    return (H + H.mT) / 2


def _newton(H, weight, gauss_newton, residual, A, B, defect, start, steps):
    """The Newton step; where the full Hessian has no minimum, with the cost's own instead."""
    n = start.shape[-1]

    def held(Q):
        return Q if weight is None else Q + torch.diag_embed(torch.nn.functional.pad(weight, (n, 0)))
    try:
        return solve_lqr(held(H), residual, A, B, defect, start, steps)
    except ValueError:
        return solve_lqr(held(gauss_newton), residual, A, B, defect, start, steps)
