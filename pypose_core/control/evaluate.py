"""The functions of an optimal control problem evaluated by torch, for all stages in one batched call.

The derivatives of m outputs come from one backward pass: the inputs are repeated m times and each copy is asked for
one output. The records are those of transcribe.py, so that the native iteration takes either.
"""
from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from pypose_core.control.problem import LeastSquares


def jacobian(function, delta: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values (K, count) and Jacobian (K, count, n) of a function of rows, at delta (K, n)."""
    if count == 0:
        return delta.new_zeros(len(delta), 0), delta.new_zeros(len(delta), 0, delta.shape[-1])
    copies = delta.expand(count, *delta.shape).detach().requires_grad_()
    with torch.enable_grad():
        values = function(copies)
        if not values.requires_grad:
            return values[0], delta.new_zeros(len(delta), count, delta.shape[-1])
        seed = torch.eye(count, dtype=delta.dtype, device=delta.device)[:, None, :].expand_as(values)
        (J,) = torch.autograd.grad(values, copies, seed.contiguous())
    return values[0].detach(), J.transpose(0, 1)


class Evaluator:
    """Records of a problem at a trajectory.

    Args:
        ocp: the problem.
        parameters: packed, (N + 1, numbers); may require gradients.
    """

    def __init__(self, ocp, parameters: Tensor):
        self.ocp, self.f, self.space = ocp, ocp.functions, ocp.space
        self.N, self.nu, self.nx = ocp.horizon, ocp.control, ocp.space.tangent
        self.parameters = parameters
        self.full, self.value = ocp.layouts
        self.stage_count = sum(ocp.row_counts[:len(ocp.stage_constraints)])
        self._record = parameters.new_zeros(self.N + 1, self.full.stride, dtype=torch.float64, requires_grad=False)
        self._at: Tensor | None = None      # the trajectory that the record belongs to

    def namespace(self, begin: int, end: int, single: bool = False) -> SimpleNamespace:
        """Parameters of stages begin … end - 1, with the stage as leading dimension, or without for one stage."""
        p = self.parameters[begin:end]
        if single:
            return SimpleNamespace(**{name: p[0, a:b].reshape(self.ocp.shapes[name])
                                      for name, (a, b) in self.ocp.splits.items()})
        return SimpleNamespace(**{name: p[:, a:b].reshape(end - begin, *self.ocp.shapes[name])
                                  for name, (a, b) in self.ocp.splits.items()})

    def rows(self, x, u, p, terminal: bool) -> Tensor:
        """All general rows (..., nd); zero where they are not of this stage."""
        found = []
        for c in self.ocp.stage_constraints:
            if not terminal:
                found.append(self.f.row(c)(x, u, p))
        if terminal and self.stage_count:
            found.append(x.new_zeros(*x.shape[:-1], self.stage_count))
        found += [self.f.row(c)(x, p) for c in self.ocp.state_constraints]
        return torch.cat(found, -1) if found else x.new_zeros(*x.shape[:-1], 0)

    def cost(self, x, u, p, terminal: bool) -> tuple[Tensor | None, Tensor | None]:
        """(residuals, None) or (None, cost)."""
        cost = self.f.cost(terminal)
        arguments = (x, p) if terminal else (x, u, p)
        if isinstance(cost, LeastSquares):
            return cost.residual(*arguments), None
        return None, cost.value(*arguments)

    def stage_cost(self, x, u, p, terminal: bool) -> Tensor:
        residual, cost = self.cost(x, u, p, terminal)
        return 0.5 * residual.square().sum(-1) if cost is None else cost

    def values(self, X: Tensor, U: Tensor, costates: Tensor, net: Tensor) -> Tensor:
        """Records (N + 1, stride) of costs, defects and rows alone.

        Most trials are accepted, and derivatives are needed there next; so they are taken here, in the same pass.
        """
        full, value = self.derivatives(X, U, costates, net), X.new_zeros(self.N + 1, self.value.stride)
        nd = sum(self.ocp.row_counts)
        value[:, self.value.cost] = full[:, self.full.cost]
        value[:, self.value.c:self.value.c + self.nx] = full[:, self.full.c:self.full.c + self.nx]
        value[:, self.value.d:self.value.d + nd] = full[:, self.full.d:self.full.d + nd]
        return value

    def derivatives(self, X: Tensor, U: Tensor, costates: Tensor, multipliers: Tensor) -> Tensor:
        """Records (N + 1, stride) with Jacobians and Hessians."""
        trajectory = torch.cat([X.reshape(-1), U.reshape(-1)])
        if self._at is not None and torch.equal(self._at, trajectory):
            return self._record
        self._at = trajectory
        lay, nu, nx, nw = self.full, self.nu, self.nx, self.nu + self.nx
        ld, record = self.ocp.leading, self._record
        for terminal, part in ((False, slice(0, self.N)), (True, slice(self.N, self.N + 1))):
            x0, p = X[part], self.namespace(part.start, part.stop)
            u0 = U if not terminal else X.new_zeros(1, nu)
            K = len(x0)
            linear = isinstance(self.f.cost(terminal), LeastSquares)
            sizes = [0 if terminal else nx, self.ocp.functions.cost_counts[terminal], sum(self.ocp.row_counts)]

            def outputs(delta, x0=x0, u0=u0, p=p, terminal=terminal, linear=linear):
                u, x = u0 + delta[..., :nu], self.space.retract(x0, delta[..., nu:])
                found = [] if terminal else [self.space.local(X[1:], self.f.dynamics(x, u, p))]
                residual, cost = self.cost(x, u, p, terminal)
                found += [residual if linear else cost.unsqueeze(-1), self.rows(x, u, p, terminal)]
                return torch.cat(found, -1)

            value, J = jacobian(outputs, X.new_zeros(K, nw), sum(sizes))
            (c, r, d), (Jc, Jr, Jd) = value.split(sizes, -1), J.split(sizes, -2)
            if linear:
                cost, g = 0.5 * r.square().sum(-1), (Jr.mT @ r.unsqueeze(-1)).squeeze(-1)
                H = Jr.mT @ Jr
            else:
                cost, g = r.squeeze(-1), Jr.squeeze(-2)
            if self.ocp.hessian == 'exact' or not linear:
                weights = multipliers[part] if self.ocp.hessian == 'exact' else 0 * multipliers[part]
                H = self._hessian(x0, u0, p, X[1:] if not terminal else None, costates[1:], weights, terminal)
            record[part, lay.cost] = cost
            record[part, lay.g:lay.g + nw] = g
            record[part, lay.c:lay.c + c.shape[-1]] = c
            record[part, lay.d:lay.d + d.shape[-1]] = d
            for begin, M in ((lay.H, H), (lay.M, Jc), (lay.D, Jd)):
                rows = M.shape[-2]
                record[part, begin:begin + rows * ld].view(K, rows, ld)[..., :nw] = M
        return record

    def lagrangian(self, x, u, p, after, costate, net, terminal: bool, dynamics: bool = True) -> Tensor:
        """l + π₊ᵀ (f ⊖ x₊) + λᵀ d of each stage (...)."""
        total = self.stage_cost(x, u, p, terminal)
        if not terminal and dynamics:
            total = total + (costate * self.space.local(after, self.f.dynamics(x, u, p))).sum(-1)
        return total + (net * self.rows(x, u, p, terminal)).sum(-1)

    def _hessian(self, x0, u0, p, after, costates, net, terminal: bool) -> Tensor:
        """Second derivatives (K, nw, nw) of the Lagrangian; of the cost alone unless the Hessian is exact."""
        exact = self.ocp.hessian == 'exact'
        K, nw = len(x0), self.nu + self.nx
        return hessian(lambda delta: self.lagrangian(
            self.space.retract(x0, delta[..., self.nu:]), u0 + delta[..., :self.nu], p, after, costates, net, terminal,
            exact), x0.new_zeros(K, nw))


def hessian(function, delta: Tensor) -> Tensor:
    """Second derivatives (K, n, n) of a function that maps rows (..., K, n) to numbers (..., K)."""
    n = delta.shape[-1]
    copies = delta.expand(n, *delta.shape).detach().requires_grad_()
    with torch.enable_grad():
        (g,) = torch.autograd.grad(function(copies).sum(), copies, create_graph=True)
        if not g.requires_grad:
            return delta.new_zeros(*delta.shape, n)
        seed = torch.eye(n, dtype=delta.dtype, device=delta.device)[:, None, :].expand_as(g)
        (H,) = torch.autograd.grad(g, copies, seed.contiguous(), allow_unused=True)
    if H is None:
        return delta.new_zeros(*delta.shape, n)
    H = H.transpose(0, 1)
    return 0.5 * (H + H.mT)

