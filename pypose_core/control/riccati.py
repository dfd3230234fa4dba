"""Linear-quadratic optimal control by dynamic programming, as a differentiable operator.

    minimize  Σ_t ½ τ_tᵀ Q_t τ_t + p_tᵀ τ_t,   τ_t = [x_t, u_t],   t = 0 .. T-1
    subject to  x_{t+1} = A_t x_t + B_t u_t + c_t,  x_0 given

The last state x_T is a result and has no cost. The native kernel does the recursion for several problems at a time
and keeps what its adjoint needs: a gradient by τ is carried back by one more recursion with the stored factors,
which costs less than the solution itself. Derivatives of derivatives, function transforms and devices other than
the CPU go through the reference in torch.

Source of the adjoint: Amos et al., Differentiable MPC for end-to-end planning and control, 2018, with the multipliers
from the value function, λ_t = V_t x_t + v_t, which is stable where the costate recursion is not.
"""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pypose_core import native

_transform = torch._C._functorch.peek_interpreter_stack


class LqrSolution(NamedTuple):
    """The solution of a batch of problems."""

    x: Tensor
    """States (B, T+1, n), x[:, 0] the given one."""
    u: Tensor
    """Inputs (B, T, m)."""
    cost: Tensor
    """Σ_t ½ τᵀQτ + pᵀτ (B,)."""
    multipliers: Tensor
    """λ_t = ∂ cost-to-go / ∂ x_t (B, T+1, n), λ_T = 0. Without gradients."""
    K: Tensor | None
    """Gains (B, T, m, n): u_t = K_t x_t + k_t. Without gradients by the native kernel."""
    k: Tensor | None
    """Feedforward (B, T, m)."""


def solve_lqr(Q: Tensor, p: Tensor, A: Tensor, B: Tensor, c: Tensor, x0: Tensor, steps: int, *,
              gains: bool = False) -> LqrSolution:
    """The optimal trajectory.

    Args:
        Q: (B, T, n+m, n+m); only the symmetric part counts, and its part of the inputs must be positive definite
            after the recursion. Batch and time may be 1 where all are the same; so in p, A, B and c.
        p: (B, T, n+m).
        A, B, c: (B, T, n, n), (B, T, n, m), (B, T, n).
        x0: (B, n).
        steps: T.
        gains: also return K and k.

    Raises:
        ValueError: a problem is not strictly convex in its inputs (the first one is named).
    """
    tensors = (Q, p, A, B, c, x0)
    if not (native.available and Q.device.type == 'cpu' and Q.dtype in (torch.float32, torch.float64)
            and _transform() is None and forward_ad._current_level < 0):
        return reference(*tensors, steps)
    save = torch.is_grad_enabled() and any(z.requires_grad for z in tensors)
    x, u, cost, multipliers, K, k, _, good = torch.ops.pypose.lqr(*tensors, steps, gains, save)
    _check(good)
    return LqrSolution(x, u, cost, multipliers, *((K, k) if gains else (None, None)))


def _check(good: Tensor) -> None:
    if not good.all():
        first = int((~good).nonzero()[0])
        raise ValueError(f'problem {first} of the batch has no unique minimum: the Hessian of its inputs is not '
                         'positive definite; Q must be so in the inputs, and not too indefinite in the states')


def reference(Q: Tensor, p: Tensor, A: Tensor, B: Tensor, c: Tensor, x0: Tensor, steps: int) -> LqrSolution:
    """solve_lqr() in torch: any device, any order of derivatives."""
    n, m = B.shape[-2:]
    batch = torch.broadcast_shapes(*(z.shape[:1] for z in (Q, p, A, B, c, x0)))
    Q = (Q + Q.mT) / 2

    def at(z: Tensor, t: int) -> Tensor:
        return z[:, t if z.shape[1] > 1 else 0]

    V = Q.new_zeros(*batch, n, n)
    v = Q.new_zeros(*batch, n)
    good = torch.ones(batch, dtype=torch.bool, device=Q.device)
    Ks: list[Tensor] = []
    ks: list[Tensor] = []
    Vs: list[Tensor] = []
    vs: list[Tensor] = []
    for t in reversed(range(steps)):
        F = torch.cat([at(A, t).expand(*batch, n, n), at(B, t).expand(*batch, n, m)], -1)
        H = at(Q, t) + F.mT @ V @ F
        h = at(p, t) + (F.mT @ (v + (V @ at(c, t).unsqueeze(-1)).squeeze(-1)).unsqueeze(-1)).squeeze(-1)
        L, info = torch.linalg.cholesky_ex(H[..., n:, n:])
        good = good & (info == 0)
        K = -torch.cholesky_solve(H[..., n:, :n], L)
        k = -torch.cholesky_solve(h[..., n:, None], L).squeeze(-1)
        V = H[..., :n, :n] + H[..., :n, n:] @ K
        V = (V + V.mT) / 2
        v = h[..., :n] + (H[..., :n, n:] @ k.unsqueeze(-1)).squeeze(-1)
        for found, z in zip((Ks, ks, Vs, vs), (K, k, V, v)):
            found.append(z)
    if _transform() is None:
        _check(good)
    Ks, ks, Vs, vs = Ks[::-1], ks[::-1], Vs[::-1], vs[::-1]
    x, u, cost, multipliers = [x0.expand(*batch, n)], [], Q.new_zeros(()), []
    for t in range(steps):
        state = x[-1].unsqueeze(-1)
        u.append((Ks[t] @ state).squeeze(-1) + ks[t])
        multipliers.append((Vs[t] @ state).squeeze(-1) + vs[t])
        tau = torch.cat([x[-1], u[-1]], -1)
        cost = cost + (tau * (0.5 * (at(Q, t) @ tau.unsqueeze(-1)).squeeze(-1) + at(p, t))).sum(-1)
        x.append((at(A, t) @ state + at(B, t) @ u[-1].unsqueeze(-1)).squeeze(-1) + at(c, t))
    multipliers.append(torch.zeros_like(x[-1]))
    return LqrSolution(torch.stack(x, 1), torch.stack(u, 1), cost, torch.stack(multipliers, 1).detach(),
                       torch.stack(Ks, 1), torch.stack(ks, 1))


def _save(ctx, inputs: tuple, output: tuple) -> None:
    x, u, *_, stored, good = output
    ctx.save_for_backward(*inputs[:6], x, u, stored)
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)


def _gradients(ctx, x_bar, u_bar, cost_bar, *_) -> tuple:
    *inputs, x, u, stored = ctx.saved_tensors
    x_bar = torch.zeros_like(x) if x_bar is None else x_bar
    u_bar = torch.zeros_like(u) if u_bar is None else u_bar
    cost_bar = x.new_zeros(len(x)) if cost_bar is None else cost_bar
    wanted = ctx.needs_input_grad
    bars = torch.ops.pypose.lqr_backward(*inputs, x, u, stored, x_bar, u_bar, cost_bar,
                                         wanted[0] or wanted[2] or wanted[3])
    bars = [None if not want else bar if z.shape[0] == bar.shape[0] else bar.sum(0, keepdim=True)
            for bar, z, want in zip(bars, inputs, wanted)]
    return *bars, None, None, None


def _save_backward(ctx, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*inputs[:6], *inputs[9:12])
    ctx.shapes, ctx.matrices, ctx.steps = [bar.shape for bar in output], inputs[12], inputs[7].shape[1]
    ctx.set_materialize_grads(False)


def _second_gradients(ctx, *bars) -> tuple:
    """Vector-Jacobian product of the gradient itself, by differentiating the reference twice."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [z.view_as(z) if z.requires_grad else z.detach().requires_grad_() for z in ctx.saved_tensors]
        inputs = [z.expand(shape[:1] + z.shape[1:]) if z.shape[0] != shape[0] and len(shape) > 1 else z
                  for z, shape in zip(leaves[:6], ctx.shapes)]
        Q, p, A, B, c, x0 = inputs
        outputs = reference(Q, p, A, B, c, x0, ctx.steps)[:3]
        firsts = torch.autograd.grad(outputs, inputs, leaves[6:], create_graph=True, materialize_grads=True)
        pairs = [(first, bar) for first, bar in zip(firsts, bars) if bar is not None and bar.shape == first.shape]
        found = torch.autograd.grad([a for a, _ in pairs], leaves, [b for _, b in pairs], create_graph=again,
                                    materialize_grads=True, allow_unused=True)
    return *found[:6], None, None, None, *found[6:], None


if native.available:
    torch.library.register_autograd('pypose::lqr', _gradients, setup_context=_save)
    torch.library.register_autograd('pypose::lqr_backward', _second_gradients, setup_context=_save_backward)
