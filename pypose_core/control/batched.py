"""Many optimal control problems at once in batched torch, on any device.

The problems are those of OCP, solved as OCP.solve() solves them: sequential quadratic programming over a primal-dual
interior point whose Newton steps are Riccati recursions. Here each operation works on the whole batch, so that its time
hardly depends on how many problems there are; on a CPU, OCP.solve() with a batch is faster.

A violation of a row that must hold has the problem's price, e ≥ 0 in s = bound - row + e, as in the native solver.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.control.evaluate import Evaluator
from pypose_core.control.ocp import OCP


@dataclass(frozen=True)
class BatchedResult:
    """Solutions of a batch, on the device of its initial states."""

    states: Tensor
    """(B, N + 1, state)."""
    controls: Tensor
    """(B, N, control)."""
    cost: Tensor
    """(B,), with the price of violations."""
    violation: Tensor
    """(B,): largest defect of the dynamics or violation of a row that is not soft."""
    step: Tensor
    """(B,): largest number of the last step; where no step improved, of the one that was not taken."""
    iterations: int
    """Quadratic programs solved."""

    def converged(self, tolerance: float = 1e-4) -> Tensor:
        """(B,): whether step and violation are below the tolerance."""
        return (self.step < tolerance) & (self.violation < tolerance)


class _Recursion:
    """min Σ ½ wᵀ H w + gᵀ w, w = [u; δx], δx_{k+1} = M w_k + c_k, δx_0 = 0: factorized for several g."""

    def __init__(self, H: Tensor, M: Tensor, c: Tensor, nu: int):
        self.M, self.c, self.nu, self.N = M, c, nu, M.shape[1]
        P, self.factors, self.gains, self.values = H[:, -1, nu:, nu:], [], [], [H[:, -1, nu:, nu:]]
        for k in reversed(range(self.N)):
            Q = H[:, k] + M[:, k].mT @ P @ M[:, k]
            L, _ = torch.linalg.cholesky_ex(Q[:, :nu, :nu])
            K = -torch.cholesky_solve(Q[:, :nu, nu:], L)
            P = Q[:, nu:, nu:] + Q[:, nu:, :nu] @ K
            P = 0.5 * (P + P.mT)
            self.factors.append(L)
            self.gains.append(K)
            self.values.append(P)
        for found in (self.factors, self.gains, self.values):
            found.reverse()

    def solve(self, g: Tensor) -> Tensor:
        """w (B, N + 1, nw)."""
        nu, p, feed = self.nu, g[:, -1, self.nu:], []
        for k in reversed(range(self.N)):
            ahead = p + (self.values[k + 1] @ self.c[:, k].unsqueeze(-1)).squeeze(-1)
            q = g[:, k] + (self.M[:, k].mT @ ahead.unsqueeze(-1)).squeeze(-1)
            feed.append(-torch.cholesky_solve(q[:, :nu].unsqueeze(-1), self.factors[k]).squeeze(-1))
            p = q[:, nu:] + (self.gains[k].mT @ q[:, :nu].unsqueeze(-1)).squeeze(-1)
        x, w = torch.zeros_like(g[:, 0, nu:]), []
        for k in range(self.N):
            u = feed[self.N - 1 - k] + (self.gains[k] @ x.unsqueeze(-1)).squeeze(-1)
            w.append(torch.cat([u, x], -1))
            x = (self.M[:, k] @ w[-1].unsqueeze(-1)).squeeze(-1) + self.c[:, k]
        w.append(torch.cat([torch.zeros_like(g[:, 0, :nu]), x], -1))
        return torch.stack(w, 1)


class _Batch:
    """A problem's constants on a device."""

    def __init__(self, ocp: OCP, packed: Tensor, lower: Tensor, upper: Tensor):
        self.ocp, self.packed, self.evaluator = ocp, packed, Evaluator(ocp)
        self.bounds = torch.stack([lower, upper], 2)                          # (B, N + 1, 2, rows)
        self.there = self.bounds.isfinite()
        device = packed.device
        self.l1, self.l2 = (torch.tensor(p, dtype=torch.float64, device=device) for p in ocp.prices[:2])
        self.hard = self.l1 < 0
        self.sign = torch.tensor([[-1.0], [1.0]], dtype=torch.float64, device=device)
        self.nu, nw = ocp.control, ocp.control + ocp.space.tangent
        self.select = torch.zeros(len(ocp.box), nw, dtype=torch.float64, device=device)
        self.select[range(len(ocp.box)), ocp.box] = 1
        self.last = torch.zeros(ocp.horizon + 1, dtype=torch.float64, device=device)
        self.last[-1] = 1

    def model(self, X: Tensor, U: Tensor) -> dict[str, Tensor]:
        """Costs, defects, rows, and their derivatives; `rows` (B, N + 1, rows), `J` (B, N + 1, rows, nw)."""
        B, stages, ocp = len(X), self.ocp.horizon + 1, self.ocp
        net = X.new_zeros(B, stages, sum(ocp.row_counts))
        m = ocp.parts(self.evaluator.records(X, U, self.packed, X.new_zeros(B, stages, ocp.space.tangent), net))
        numbers = torch.cat([torch.cat([U, U[:, -1:]], 1), X], -1)[..., ocp.box_number]
        m['rows'] = torch.cat([numbers, m['d']], -1)
        m['J'] = torch.cat([self.select.expand(B, stages, *self.select.shape), m['D']], 2)
        m['H'] = m['H'].clone()
        m['H'][:, -1, :self.nu, :self.nu] += torch.eye(self.nu, dtype=X.dtype, device=X.device)
        return m

    def over(self, rows: Tensor) -> Tensor:
        """Violations (B, N + 1, 2, rows)."""
        return torch.where(self.there, self.sign * (rows.unsqueeze(2) - self.bounds), 0.0).clamp(min=0)

    def merit(self, m: dict[str, Tensor], weight: Tensor) -> Tensor:
        over = self.over(m['rows'])
        priced = (self.l1.clamp(min=0) * over + 0.5 * self.l2 * over ** 2).sum((1, 2, 3))
        return m['cost'].sum(1) + priced + weight * m['c'].abs().sum((1, 2))

    def violation(self, m: dict[str, Tensor]) -> Tensor:
        soft = (torch.tensor(self.ocp.prices[2], device=self.l1.device) == 0) & ~self.hard
        over = self.over(m['rows']).masked_fill(soft, 0)
        worst = over.flatten(1).amax(1) if over[0].numel() else over.new_zeros(len(over))
        return torch.maximum(worst, m['c'].abs().flatten(1).amax(1))

    def program(self, m: dict[str, Tensor], iterations: int) -> tuple[Tensor, Tensor]:
        """w (B, N + 1, nw) of the quadratic program at a model, and multipliers' largest number for each problem."""
        J, H, g = m['J'], m['H'], m['g']
        gap = torch.where(self.there, self.sign * (self.bounds - m['rows'].unsqueeze(2)), 1.0)
        elastic, there = self.there & ~self.hard, self.there
        price = torch.where(elastic, self.l1.clamp(min=1e-12), 1.0)
        w = torch.zeros_like(g)
        e = torch.where(elastic, 1.0, 0.0)
        s = (gap + e).clamp(min=1.0)
        lam = torch.where(elastic, torch.minimum(0.5 * price, torch.ones_like(s)), 1.0)
        count = (there.sum((1, 2, 3)) + elastic.sum((1, 2, 3))).clamp(min=1)

        def on_rows(a):
            return self.sign * (J @ a.unsqueeze(-1)).squeeze(-1).unsqueeze(2)

        def spread(y):      # Jᵀ σ y
            return (J.mT @ (self.sign * y).sum(2).unsqueeze(-1)).squeeze(-1)
        for _ in range(iterations):
            nu = torch.where(elastic, price + self.l2 * e - lam, 1.0)
            mu = (torch.where(there, s * lam, 0.0) + torch.where(elastic, e * nu, 0.0)).sum((1, 2, 3)) / count
            give = torch.where(elastic, nu + e * self.l2, 1.0)
            base = s + torch.where(elastic, lam * e / give, 0.0)
            W = torch.where(there, lam / base, 0.0)
            recursion = _Recursion(H + J.mT @ (W.sum(2).unsqueeze(-1) * J), m['M'], m['c'], self.nu)
            at = on_rows(w)
            missing = s + at - e - gap

            def direction(rs, re, at=at, missing=missing, give=give, base=base, W=W, recursion=recursion, w=w, s=s, e=e,
                          lam=lam):
                kappa = (lam * missing - rs + torch.where(elastic, lam * re / give, 0.0)) / base
                kappa = torch.where(there, kappa, 0.0)
                dw = recursion.solve(g + spread(torch.where(there, lam, 0.0) + kappa - W * at)) - w
                da = on_rows(dw)
                dl = W * da + kappa
                de = torch.where(elastic, (e * dl - re) / give, 0.0)
                return dw, -missing - da + de, dl, de, torch.where(elastic, self.l2 * de - dl, 0.0)

            def longest(ds, dl, de, dn, s=s, lam=lam, e=e, nu=nu):
                hit = torch.where(there, torch.maximum(-ds / s, -dl / lam), 0.0)
                soft = torch.where(elastic, torch.maximum(-de / e.clamp(min=1e-300), -dn / nu), 0.0)
                return 1 / torch.maximum(hit, soft).amax((1, 2, 3)).clamp(min=1)
            if not J.shape[2]:
                return recursion.solve(g), mu
            _, ds, dl, de, dn = direction(s * lam, e * nu)
            a = longest(ds, dl, de, dn)[:, None, None, None]
            after = torch.where(there, (s + a * ds) * (lam + a * dl), 0.0).sum((1, 2, 3))
            after = after + torch.where(elastic, (e + a * de) * (nu + a * dn), 0.0).sum((1, 2, 3))
            target = ((after / count / mu.clamp(min=1e-300)) ** 3 * mu).clamp(min=1e-12)[:, None, None, None]
            dw, ds, dl, de, dn = direction(s * lam + ds * dl - target, e * nu + de * dn - target)
            a = (0.995 * longest(ds, dl, de, dn)).clamp(max=1.0)[:, None, None, None]
            w, s, lam, e = w + a[..., 0] * dw, s + a * ds, lam + a * dl, e + a * de
            if bool((mu < 1e-10).all()):
                break
        return w, torch.where(there, lam, 0.0).flatten(1).amax(1)


@torch.no_grad()
def solve_batched(ocp: OCP, x0: Tensor, *, u_prev: Tensor | None = None, parameters: Mapping[str, Tensor] | None = None,
                  controls: Tensor | None = None, bounds: Mapping | None = None, max_iterations: int = 20,
                  qp_iterations: int = 30, tolerance: float = 1e-6) -> BatchedResult:
    """Solve from x0 (B, state), on its device.

    Args:
        ocp: with Gauss-Newton Hessians; its functions are evaluated by torch, and so must work on that device.
        u_prev, parameters, bounds: as of OCP.solve().
        controls: (B, N, control) to roll out for a start; zeros by default.
        max_iterations: quadratic programs. qp_iterations: of the interior point in each.
        tolerance: largest number of a step at which a problem ends.
    """
    if ocp.hessian != 'gauss_newton':
        raise ValueError("batched problems need hessian='gauss_newton'")
    device, nu = x0.device, ocp.control
    x = ocp.initial(x0.cpu(), None if u_prev is None else u_prev.cpu()).to(device)
    packed = ocp.pack({name: torch.as_tensor(v).cpu() for name, v in (parameters or {}).items()}, len(x)).to(device)
    batch = _Batch(ocp, packed, *(b.to(device) for b in ocp.rows.bounds(bounds, len(x))))
    U = x.new_zeros(len(x), ocp.horizon, nu) if controls is None else controls.double()
    X = ocp.rollout(x, U, packed)
    model, weight = batch.model(X, U), x.new_ones(len(x))
    step, iteration, going = x.new_full((len(x),), torch.inf), 0, torch.ones(len(x), dtype=torch.bool)
    while iteration < max_iterations and bool(going.any()):
        iteration += 1
        w, largest = batch.program(model, qp_iterations)
        weight = torch.maximum(weight, 2 * largest)
        best, found = batch.merit(model, weight), (X, U, model)
        moved = torch.zeros_like(step)
        for alpha in (1.0, 0.5, 0.25, 0.1, 0.02):
            trial = ocp.space.retract(X, alpha * w[..., nu:]), U + alpha * w[:, :-1, :nu]
            seen = batch.model(*trial)
            merit = batch.merit(seen, weight)
            better = (merit < best) & merit.isfinite() & (moved == 0)
            moved = torch.where(better, alpha, moved)
            keep = better[:, None, None]
            found = (torch.where(keep, trial[0], found[0]), torch.where(keep, trial[1], found[1]),
                     {name: torch.where(better.view(-1, *[1] * (old.ndim - 1)), seen[name], old)
                      for name, old in found[2].items()})
            if bool((moved > 0).all()):
                break
        X, U, model = found
        step = torch.where(moved > 0, moved, 1.0) * w.abs().flatten(1).amax(1)
        going = (moved > 0) & (step > tolerance)
    return BatchedResult(X[..., :ocp.base_space.size], U, batch.merit(model, 0 * weight), batch.violation(model), step,
                         iteration)
