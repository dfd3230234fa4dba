"""Gradients of an optimal control problem's solution, by implicit differentiation of its KKT system.

With F(z, θ) = 0 the KKT conditions at the solution z*, active constraints as equations, dz*/dθ = -K⁻¹ ∂F/∂θ where K is
the KKT matrix with the exact Hessian of the Lagrangian. Backward needs one solve with K for each problem: a Riccati
recursion. ∂F/∂θ is left to autograd, so that whatever the functions are made of gets a gradient: initial state,
parameters, limits, and the weights of networks within the functions.

Source: Amos, Rodriguez, Sacks, Boots and Kolter, "Differentiable MPC for end-to-end planning and control" (2018); the
treatment of active constraints follows Andersson and Rawlings, "Sensitivity analysis for nonlinear programming in
CasADi" (2018).
"""
from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from pypose_core.control.evaluate import Evaluator, hessian, jacobian

STIFF = 1e8
"""Weight, relative to the Hessian, that makes a row an equation: an error of 1e-8 that leaves eight digits."""


class _Kkt(torch.autograd.Function):
    """Forward -K⁻¹ F, which is zero at a solution; backward one solve with the symmetric K."""

    @staticmethod
    def forward(ctx, gradient, defect, rows, H, M, D, weight):
        ctx.save_for_backward(H, M, D, weight)
        return torch.zeros_like(gradient)

    @staticmethod
    def backward(ctx, slope):
        H, M, D, weight = ctx.saved_tensors
        stiff = H + D.mT @ (weight.unsqueeze(-1) * D)
        w, costates, ok = torch.ops.pypose.ocp_kkt(stiff, M, slope)
        if not bool(ok.all()):
            raise torch.linalg.LinAlgError('the solution is not a strict minimum (the reduced Hessian is not positive '
                                           'definite), so it has no gradient')
        return w, costates[:, 1:], weight * (D @ w.unsqueeze(-1)).squeeze(-1), None, None, None, None


def attach(ocp, x0: Tensor, packed: Tensor, lower: Tensor, upper: Tensor, X: Tensor, U: Tensor, costates: Tensor,
           multipliers: Tensor) -> tuple[Tensor, Tensor]:
    """The solution unchanged, with gradients.

    Args:
        x0: (B, state); packed: (B, N + 1, parameters); lower, upper: (B, N + 1, rows). Any of them in a graph.
        X, U, costates, multipliers: the solution (B, …), detached.

    Returns:
        states (B, N + 1, state), controls (B, N, control).
    """
    B, N, nu, nx = len(X), ocp.horizon, ocp.control, ocp.space.tangent
    nw, nb = nu + nx, len(ocp.box)
    net = multipliers[:, :, 1] - multipliers[:, :, 0]
    weight, bound = _active(ocp, lower, upper, X, U, multipliers, packed.detach())
    parts, evaluator = [], Evaluator(ocp)
    for terminal, (begin, end) in ((False, (0, N)), (True, (N, N + 1))):
        flat = slice(None), slice(begin, end)
        x = X[flat]
        if not terminal:    # the first state is given, not found
            x = torch.cat([x0.unsqueeze(1), x[:, 1:]], 1)
        rows = B * (end - begin)
        p = ocp.unpack(packed[flat].flatten(0, 1))
        frozen = SimpleNamespace(**{name: value.detach() for name, value in vars(p).items()})
        x = x.reshape(rows, -1)
        u = U.reshape(rows, -1) if not terminal else x.new_zeros(rows, nu)
        after = None if terminal else X[:, 1:].reshape(rows, -1)
        pi = None if terminal else costates[:, 1:].reshape(rows, -1)
        general = net[flat][..., nb:].reshape(rows, -1)

        def moved(delta, x, u):
            return ocp.space.retract(x, delta[..., nu:]), u + delta[..., :nu]

        def lagrangian(delta, x, u, p, e=evaluator, after=after, pi=pi, general=general, terminal=terminal):
            return e.lagrangian(*moved(delta, x, u), p, after, pi, general, terminal)

        def constraints(delta, x, u, p, e=evaluator, after=after, terminal=terminal):
            y, v = moved(delta, x, u)
            found = [] if terminal else [ocp.space.local(after, ocp.functions.dynamics(y, v, p))]
            return torch.cat([*found, e.rows(y, v, p, terminal)], -1)

        zero = x.new_zeros(rows, nw)
        fixed_x = x.detach()
        H = hessian(lambda d, x=fixed_x, u=u, p=frozen, f=lagrangian: f(d, x, u, p), zero)
        count = (0 if terminal else nx) + sum(ocp.row_counts)
        _, J = jacobian(lambda d, x=fixed_x, u=u, p=frozen, f=constraints: f(d, x, u, p), zero, count)
        with torch.enable_grad():
            delta = zero.clone().requires_grad_()
            (g,) = torch.autograd.grad(lagrangian(delta, x, u, p).sum(), delta, create_graph=True)
            values = constraints(zero, x, u, p)
        parts.append([t.reshape(B, end - begin, *t.shape[1:]) for t in (H, J, g, values)])
    (H, J, g, values), (HN, JN, gN, valuesN) = parts
    selector = X.new_zeros(nb, nw)
    selector[range(nb), ocp.box] = 1
    D = torch.cat([J[..., nx:, :], JN], 1)
    D = torch.cat([selector.expand(B, N + 1, nb, nw), D], 2)
    M = J[..., :nx, :]
    scale = H.diagonal(dim1=-2, dim2=-1).abs().amax((-2, -1)).clamp(min=1.0).reshape(B, 1, 1)
    numbers = torch.cat([torch.cat([U, U[:, -1:]], 1), X], -1)[..., ocp.box_number]
    v = torch.cat([numbers, torch.cat([values[..., nx:], valuesN], 1)], -1) - bound
    weight = torch.where(weight < 0, STIFF * scale, weight)
    step = _Kkt.apply(torch.cat([g, gN], 1), values[..., :nx], torch.where(weight > 0, v, torch.zeros_like(v)),
                      torch.cat([H, HN], 1), M, D, weight)
    states = ocp.space.retract(X[:, 1:], step[:, 1:, nu:])
    return torch.cat([x0.unsqueeze(1), states], 1), U + step[:, :-1, :nu]


def _active(ocp, lower: Tensor, upper: Tensor, X: Tensor, U: Tensor, multipliers: Tensor, packed: Tensor
            ) -> tuple[Tensor, Tensor]:
    """For each row the weight of its equation (-1: as stiff as can be; 0: not active) and its bound."""
    N, e = ocp.horizon, Evaluator(ocp)
    with torch.no_grad():
        rows = torch.cat([e.rows(X[:, :N], U, ocp.unpack(packed[:, :N]), False),
                          e.rows(X[:, N:], None, ocp.unpack(packed[:, N:]), True)], 1)
        numbers = torch.cat([torch.cat([U, U[:, -1:]], 1), X], -1)[..., ocp.box_number]
        value = torch.cat([numbers, rows], -1)
        gaps = torch.stack([value - lower, upper - value], 2)
        side = (multipliers - gaps).argmax(2, keepdim=True)     # the side that is active, if one is
        gap, multiplier = gaps.gather(2, side).squeeze(2), multipliers.gather(2, side).squeeze(2)
        _, l2, elastic = (torch.as_tensor(t, dtype=torch.float64) for t in ocp.prices)
        l1 = torch.as_tensor(ocp.prices[0], dtype=torch.float64)
        weight = torch.where(multiplier > gap, -1.0, 0.0)
        soft = (elastic == 0) & (l1 >= 0)
        weight = torch.where(soft & (gap < -1e-7), l2.expand_as(weight), weight)
    bound = torch.where(side.squeeze(2) == 1, upper, lower)
    return weight, torch.where(weight != 0, bound, torch.zeros_like(bound))
