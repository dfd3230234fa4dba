"""Iterative LQR on an optimal control problem: the iterates are trajectories of the system itself.

Each iteration takes the quadratic model of the problem along the present trajectory, finds u + α k + K δx by a Riccati
recursion, and follows that law along the dynamics; α is halved until the cost falls as predicted. A Levenberg term on
the controls grows where the recursion or the search fails and shrinks where they succeed. With hessian='exact' in the
problem the model has the dynamics' second derivatives: differential dynamic programming.

Bounds on controls are kept by clamping, which is right at the solution only as a heuristic; constraints of other kinds
are refused. Where they matter, use OCP.solve().

Source: Tassa, Erez and Todorov, "Synthesis and stabilization of complex behaviors through online trajectory
optimization" (2012).
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.control.evaluate import Evaluator
from pypose_core.control.ocp import OCP
from pypose_core.control.ocp_result import OcpStatus


@dataclass(frozen=True)
class DdpResult:
    """A trajectory of the system and the law around it."""

    states: Tensor
    """(N + 1, state)."""
    controls: Tensor
    """(N, control)."""
    gains: Tensor
    """K of u = u_k + K_k (x ⊖ x_k), (N, control, tangent)."""
    status: OcpStatus
    iterations: int
    costs: list[float]
    """Cost before each iteration and at the end; it never rises."""


class _Follower:
    """The problem along trajectories from one initial state."""

    def __init__(self, ocp: OCP, x0: Tensor, packed: Tensor):
        self.ocp, self.x0, self.evaluator = ocp, x0, Evaluator(ocp)
        self.stages = [ocp.unpack(row) for row in packed]
        self.lower: Tensor | float = -math.inf
        self.upper: Tensor | float = math.inf
        if 'control' in ocp.groups:
            self.lower, self.upper = (b[:-1, ocp.groups['control']] for b in (ocp.lower, ocp.upper))

    def follow(self, U: Tensor, X: Tensor | None = None, k: Tensor | None = None, K: Tensor | None = None,
               alpha: float = 1.0) -> tuple[Tensor, Tensor, float]:
        """States, controls and cost under U, or under U + α k + K (x ⊖ X)."""
        ocp, x = self.ocp, self.x0
        states, controls, cost = [x], [], 0.0
        lower, upper = (b if isinstance(b, Tensor) else torch.full_like(U, b) for b in (self.lower, self.upper))
        for i in range(ocp.horizon):
            u = U[i]
            if X is not None and k is not None and K is not None:
                u = u + alpha * k[i] + K[i] @ ocp.space.local(X[i], x)
            u = u.clamp(lower[i], upper[i])
            cost += float(self.evaluator.stage_cost(x, u, self.stages[i], False))
            x = ocp.functions.dynamics(x, u, self.stages[i])
            states.append(x)
            controls.append(u)
        cost += float(self.evaluator.stage_cost(x, None, self.stages[-1], True))
        return torch.stack(states), torch.stack(controls), cost


def _backward(model: dict[str, Tensor], nu: int, damping: float) -> tuple[Tensor, Tensor, float] | None:
    """Steps k (N, nu), gains K (N, nu, nx) and predicted slope of the cost; None where H_uu is not positive."""
    H, g, M = model['H'], model['g'], model['M']
    P, p = H[-1, nu:, nu:], g[-1, nu:]
    N, nx = M.shape[0], M.shape[1]
    k, K, slope = H.new_empty(N, nu), H.new_empty(N, nu, nx), 0.0
    eye = torch.eye(nu, dtype=H.dtype)
    for i in reversed(range(N)):
        Q, q = H[i] + M[i].mT @ P @ M[i], g[i] + M[i].mT @ p
        L, info = torch.linalg.cholesky_ex(Q[:nu, :nu] + damping * eye)
        if int(info):
            return None
        law = -torch.cholesky_solve(torch.cat([q[:nu, None], Q[:nu, nu:]], 1), L)
        k[i], K[i] = law[:, 0], law[:, 1:]
        slope += float(q[:nu] @ k[i])
        P = Q[nu:, nu:] + K[i].mT @ Q[:nu, :nu] @ K[i] + K[i].mT @ Q[:nu, nu:] + Q[nu:, :nu] @ K[i]
        p = q[nu:] + K[i].mT @ (Q[:nu, :nu] @ k[i] + q[:nu]) + Q[nu:, :nu] @ k[i]
        P = 0.5 * (P + P.mT)
    return k, K, slope


@torch.no_grad()
def solve_ddp(ocp: OCP, x0: Tensor, *, guess: Tensor | None = None, u_prev: Tensor | None = None,
              parameters: Mapping[str, Tensor] | None = None, max_iterations: int = 200,
              tolerance: float = 1e-9) -> DdpResult:
    """Minimize an OCP's cost from x0 by iterative LQR, or DDP if its Hessian is exact.

    Args:
        ocp: without constraints other than bounds on controls.
        x0: (state,). u_prev: (control,), where the problem has rates.
        guess: controls (N, control) to begin with; zeros by default.
        parameters: as of OCP.solve().
        max_iterations: quadratic models at most.
        tolerance: predicted decrease, relative to the cost, at which the iteration ends.

    Raises:
        ValueError: the problem has constraints that this method does not treat.
    """
    others = sorted(set(ocp.groups) - {'control'})
    if others:
        raise ValueError(f'iterative LQR treats bounds on controls only, not {", ".join(others)}; use OCP.solve()')
    x0, packed = ocp.initial(x0, u_prev), ocp.pack(parameters or {}, 1)[0]
    follower = _Follower(ocp, x0, packed)
    U = torch.zeros(ocp.horizon, ocp.control, dtype=torch.float64) if guess is None else torch.as_tensor(guess).double()
    X, U, cost = follower.follow(U)
    costs, damping, status = [cost], 0.0, OcpStatus.ITERATIONS
    K = U.new_zeros(ocp.horizon, ocp.control, ocp.space.tangent)
    for iteration in range(max_iterations):     # noqa: B007
        costate = _costates(ocp.record(X, U, parameters), ocp.control)
        model = ocp.record(X, U, parameters, costates=costate)
        while (law := _backward(model, ocp.control, damping)) is None and damping < 1e10:
            damping = max(10 * damping, 1e-6)
        if law is None:
            status = OcpStatus.INDEFINITE
            break
        k, K, slope = law
        if -slope <= tolerance * (1 + abs(cost)):
            status = OcpStatus.CONVERGED
            break
        for alpha in (0.5 ** i for i in range(12)):
            trial = follower.follow(U, X, k, K, alpha)
            if trial[2] <= cost + 1e-4 * alpha * slope:
                X, U, cost = trial
                damping = 0.2 * damping if damping > 1e-6 else 0.0
                break
        else:
            damping = max(10 * damping, 1e-6)
            if damping > 1e10:
                status = OcpStatus.LINE_SEARCH
                break
        costs.append(cost)
    return DdpResult(X[:, :ocp.base_space.size], U, K, status, iteration, costs)


def _costates(model: dict[str, Tensor], nu: int) -> Tensor:
    """(N + 1, tangent): the slope of the cost to go along the trajectory."""
    g, M = model['g'], model['M']
    found = [g[-1, nu:]]
    for i in reversed(range(len(M))):
        found.append(g[i, nu:] + M[i, :, nu:].mT @ found[-1])
    return torch.stack(found[::-1])
