"""The functions of an optimal control problem evaluated by torch, for all stages in one batched call.

The derivatives of m outputs come from one backward pass: the inputs are repeated m times and each copy is asked for
one output. The records are those of transcribe.py, so that the native iteration takes either.
"""
from __future__ import annotations

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
    """The functions of a problem at any number of stages, and the records that the native iteration takes."""

    def __init__(self, ocp):
        self.ocp, self.f, self.space = ocp, ocp.functions, ocp.space
        self.N, self.nu, self.nx = ocp.horizon, ocp.control, ocp.space.tangent
        self.layout = ocp.layouts[0]
        self.stage_count = sum(ocp.row_counts[:len(ocp.stage_constraints)])

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
        if cost is not None:
            return cost
        assert residual is not None     # cost() gives one of the two
        return 0.5 * residual.square().sum(-1)

    def records(self, X: Tensor, U: Tensor, packed: Tensor, costates: Tensor, net: Tensor,
                dynamics_alone: bool = False) -> Tensor:
        """Records (B, N + 1, stride) at states X (B, N + 1, numbers) and controls U (B, N, control).

        Args:
            packed: parameters (B, N + 1, numbers).
            costates: (B, N + 1, tangent). net: (B, N + 1, rows), multipliers of the general rows.
            dynamics_alone: defects and their Jacobian, and their part of an exact Hessian; all else is zero.
        """
        record = X.new_zeros(len(X), self.N + 1, self.layout.stride)
        self._dynamics(X, U, packed, costates if dynamics_alone and self.ocp.hessian == 'exact' else None, record)
        if not dynamics_alone:
            for terminal in (False, True):
                self._cost_and_rows(X, U, packed, costates, net, terminal, record)
        return record

    def _write(self, record: Tensor, begin: int, M: Tensor) -> None:
        """A matrix of each stage into the records; its rows have `leading` numbers there."""
        rows, ld = M.shape[-2], self.ocp.leading
        into = record[..., begin:begin + rows * ld].unflatten(-1, (rows, ld))
        into[..., :M.shape[-1]] = M.view(*record.shape[:-1], *M.shape[-2:])

    def _dynamics(self, X, U, packed, costates, record) -> None:
        """The control before is a part of the state only formally: its derivative is known."""
        base, nu, nx = self.ocp.base_space, self.nu, self.nx
        tangent = base.tangent
        p = self.ocp.unpack(packed[:, :-1].flatten(0, 1))
        x0, u0, after = X[:, :-1].flatten(0, 1), U.flatten(0, 1), X[:, 1:, :base.size].flatten(0, 1)

        def moved(delta):
            return self.f.base_dynamics(self.space.retract(x0, delta[..., nu:]), u0 + delta[..., :nu], p)
        zero = X.new_zeros(len(x0), nu + nx)
        c, J = jacobian(lambda delta: base.local(after, moved(delta)), zero, tangent)
        record, lay = record[:, :-1], self.layout
        record[..., lay.c:lay.c + tangent] = c.view(*record.shape[:2], tangent)
        self._write(record, lay.M, J)
        if self.ocp.rates:
            record[..., lay.c + tangent:lay.c + nx] = U - X[:, 1:, base.size:]
            for i in range(nu):
                record[..., lay.M + (tangent + i) * self.ocp.leading + i] = 1
        if costates is not None:
            pi = costates[:, 1:, :tangent].flatten(0, 1)
            self._write(record, lay.H, hessian(lambda d: (pi * base.local(after, moved(d))).sum(-1), zero))

    def _cost_and_rows(self, X, U, packed, costates, net, terminal: bool, record) -> None:
        part = slice(self.N, self.N + 1) if terminal else slice(0, self.N)
        lay, nu, nw, ocp = self.layout, self.nu, self.nu + self.nx, self.ocp
        x0, p, record = X[:, part].flatten(0, 1), ocp.unpack(packed[:, part].flatten(0, 1)), record[:, part]
        u0 = X.new_zeros(len(x0), nu) if terminal else U.flatten(0, 1)
        linear, exact = isinstance(self.f.cost(terminal), LeastSquares), ocp.hessian == 'exact'
        sizes = [ocp.functions.cost_counts[terminal], sum(ocp.row_counts)]

        def outputs(delta):
            u, x = u0 + delta[..., :nu], self.space.retract(x0, delta[..., nu:])
            residual, cost = self.cost(x, u, p, terminal)
            return torch.cat([residual if linear else cost.unsqueeze(-1), self.rows(x, u, p, terminal)], -1)
        value, J = jacobian(outputs, X.new_zeros(len(x0), nw), sum(sizes))
        (r, d), (Jr, Jd) = value.split(sizes, -1), J.split(sizes, -2)
        if linear:
            cost, g, H = 0.5 * r.square().sum(-1), (Jr.mT @ r.unsqueeze(-1)).squeeze(-1), Jr.mT @ Jr
        else:
            cost, g = r.squeeze(-1), Jr.squeeze(-2)
        if exact or not linear:
            after = None if terminal else X[:, 1:].flatten(0, 1)
            pi, weights = costates[:, 1:].flatten(0, 1), net[:, part].flatten(0, 1)
            weights = weights if exact else 0 * weights
            H = hessian(lambda delta: self.lagrangian(
                self.space.retract(x0, delta[..., nu:]), u0 + delta[..., :nu], p, after, pi, weights, terminal, exact),
                X.new_zeros(len(x0), nw))
        shape = record.shape[:2]
        record[..., lay.cost] = cost.view(shape)
        record[..., lay.g:lay.g + nw] = g.view(*shape, nw)
        record[..., lay.d:lay.d + sizes[1]] = d.view(*shape, sizes[1])
        self._write(record, lay.H, H)
        self._write(record, lay.D, Jd)

    def lagrangian(self, x, u, p, after, costate, net, terminal: bool, dynamics: bool = True) -> Tensor:
        """l + π₊ᵀ (f ⊖ x₊) + λᵀ d of each stage (...)."""
        total = self.stage_cost(x, u, p, terminal)
        if not terminal and dynamics:
            total = total + (costate * self.space.local(after, self.f.dynamics(x, u, p))).sum(-1)
        return total + (net * self.rows(x, u, p, terminal)).sum(-1)


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
