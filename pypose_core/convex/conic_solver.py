"""Interior point on a sparse program over second-order cones, and the derivative of its solution.

    minimize ½ xᵀ P x + qᵀ x   subject to   G x + s = h, s ∈ K,  A x = b

Newton steps with Nesterov and Todd's scaling W and Mehrotra's predictor and corrector. Each is a sparse Cholesky
factorization of P + Gᵀ W⁻² G + ρ AᵀA on one pattern; equations hold by refinement, whose dual steps are those of the
method of multipliers.

Source: Vandenberghe, "The CVXOPT linear and quadratic cone program solvers" (2010), sections 4 and 7.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pypose_core.convex.quadratic import STATUSES, QpStatus

CODES = {status: code for code, status in enumerate(STATUSES)}


class Point(NamedTuple):
    """An iterate, and how the iteration ended."""

    x: Tensor
    s: Tensor
    z: Tensor
    """Multipliers of the cones (m,)."""
    y: Tensor
    """Multipliers of the equations (p,)."""
    codes: Tensor
    """(2,): status and iterations."""


class _System:
    """A program at given values, and the factor of P + Gᵀ Ω G + ρ AᵀA."""

    def __init__(self, program, P: Tensor, G: Tensor, A: Tensor):
        self.program, self.values, self.cones = program, (P, G, A), program.cones
        diagonal = P[program.P.places[0] == program.P.places[1]]
        self.scale = max(_norm(diagonal), 1.0)
        self.stiff = 1e6 * self.scale       # ρ

    def P(self, x: Tensor) -> Tensor:
        return self.program.P.times(self.values[0], x)

    def G(self, x: Tensor) -> Tensor:
        return self.program.G.times(self.values[1], x)

    def A(self, x: Tensor) -> Tensor:
        return self.program.A.times(self.values[2], x)

    def GT(self, z: Tensor) -> Tensor:
        return self.program.G.transposed_times(self.values[1], z)

    def AT(self, y: Tensor) -> Tensor:
        return self.program.A.transposed_times(self.values[2], y)

    def factorize(self, weights: Tensor, squares: Sequence[tuple[Tensor, Tensor]] = ()) -> bool:
        """With Ω of the diagonal `weights` (m,) and the terms c v vᵀ of each cone, c (cones,) and v (m,)."""
        P, G, A = self.values
        self.weights, self.squares = weights, squares
        return self.program.matrix.factorize(
            P, torch.cat([A, G]), torch.cat([weights.new_full((self.program.p,), self.stiff), weights]), squares,
            1e-12 * self.scale)

    def omega(self, x: Tensor) -> Tensor:
        """Ω x (m,)."""
        y, linear = self.weights * x, self.cones.linear
        for c, v in self.squares:
            y[linear:] += (c * self.cones.dots(v, x))[self.cones.owner] * v[linear:]
        return y

    def solve(self, r: Tensor, t: Tensor, c: Tensor, compliance, rounds: int = 5) -> tuple[Tensor, Tensor, Tensor]:
        """x, y, z of P x + Aᵀ y + Gᵀ z = r, A x = t, G x - Ω⁻¹ z = c, with compliance(z) = Ω⁻¹ z.

        z is an unknown of its own in the refinement: Ω has weights of 1e10 and more, and taken from x alone z would
        have their rounding errors.
        """
        x, y, z = torch.zeros_like(r), torch.zeros_like(t), torch.zeros_like(c)
        size = max(_norm(r), _norm(t), _norm(c), 1e-300)
        for _ in range(rounds):
            left, equal, rows = r - self.P(x) - self.AT(y) - self.GT(z), t - self.A(x), c - self.G(x) + compliance(z)
            if max(_norm(left), _norm(equal), _norm(rows)) < 1e-14 * size:
                break
            step = self.program.matrix.solve(left + self.GT(self.omega(rows)) + self.stiff * self.AT(equal))
            x = x + step
            y = y + self.stiff * (self.A(step) - equal)
            z = z + self.omega(self.G(step) - rows)
        return x, y, z


def _inside(cones, u: Tensor) -> Tensor:
    """u, moved along the identity into the cone if it is not there."""
    low = -cones.margins(u).min().item() if cones.rows else -1.0
    return u if low < 0 else u + (1 + low) * cones.identity()


def _norm(x: Tensor) -> float:
    return x.abs().max().item() if len(x) else 0.0


@torch.no_grad()
def solve_cones(program, P: Tensor, q: Tensor, G: Tensor, h: Tensor, A: Tensor, b: Tensor) -> Point:
    """The solution from a cold start; values as of ConicProgram.solve()."""
    cones, system, tolerance = program.cones, _System(program, P, G, A), program.tolerance

    def end(status: QpStatus, k: int) -> Point:
        return Point(x, s, z, y, torch.tensor([CODES[status], k]))
    x, s, z, y = torch.zeros_like(q), cones.identity(), cones.identity(), torch.zeros_like(b)
    if not all(bool(t.isfinite().all()) for t in (P, q, G, h, A, b)):
        x, s, z, y = (torch.full_like(t, torch.nan) for t in (x, s, z, y))
        return end(QpStatus.NOT_FINITE, 0)
    if not system.factorize(torch.ones_like(h)):
        return end(QpStatus.NOT_CONVEX, 0)
    x, y, z = system.solve(-q, b, h, lambda z: z)
    s, z = _inside(cones, -z), _inside(cones, z)
    for k in range(program.max_iterations + 1):
        Px = system.P(x)
        dual, rows, equal = Px + q + system.GT(z) + system.AT(y), system.G(x) + s - h, system.A(x) - b
        gap, objective = (s @ z).item(), (x @ (0.5 * Px + q)).item()
        small_primal = max(_norm(rows), _norm(equal)) <= tolerance * max(1.0, _norm(h), _norm(b))
        small_dual = _norm(dual) <= tolerance * max(1.0, _norm(q))
        if small_primal and small_dual and gap <= tolerance * max(1.0, abs(objective)):
            return polish(program, P, q, G, h, A, b, end(QpStatus.SOLVED, k))
        # Multipliers that prove that nothing is feasible, or a direction that proves that the objective has no end.
        farkas = -(h @ z + b @ y).item()
        if farkas > 0 and not small_primal and _norm(dual - Px - q) <= 1e-8 * farkas:
            return end(QpStatus.INFEASIBLE, k)
        falls = -(q @ x).item()
        if falls > 0 and max(_norm(Px), _norm(equal + b), _norm(rows + h)) <= 1e-8 * falls:
            return end(QpStatus.UNBOUNDED, k)
        if k == program.max_iterations or not (gap == gap and abs(gap) < torch.inf):
            return end(QpStatus.ITERATIONS, k)
        if not cones.rows:
            if not system.factorize(h):
                return end(QpStatus.NOT_CONVEX, k)
            dx, dy, _ = system.solve(-dual, -equal, h, lambda z: z)
            x, y = x + dx, y + dy
            continue
        W, mu = cones.scaling(s, z), gap / cones.degree
        weights, v, c = W.inverse_square()
        scaled = W.apply(z)
        if not system.factorize(weights, [(c, v)] if cones.count else []):
            return end(QpStatus.NOT_CONVEX if k == 0 else QpStatus.ITERATIONS, k)

        def direction(target: Tensor, part: float, W=W, scaled=scaled, dual=dual, equal=equal, rows=rows):
            """dx, ds, dz, dy for λ ∘ (W dz + W⁻¹ ds) = target, with that part of the residuals removed."""
            along = W.apply(cones.quotient(scaled, target))
            dx, dy, dz = system.solve(-part * dual, -part * equal, -part * rows - along, W.square)
            return dx, -part * rows - system.G(dx), dz, dy

        def reach(ds: Tensor, dz: Tensor, s=s, z=z) -> float:
            return min(cones.longest(s, ds), cones.longest(z, dz))
        square = cones.product(scaled, scaled)
        _, ds, dz, _ = direction(-square, 1.0)
        alpha = min(1.0, reach(ds, dz))
        sigma = min(1.0, max(0.0, 1 - alpha + alpha ** 2 * (ds @ dz).item() / gap)) ** 3
        target = -square - cones.product(W.inverse(ds), W.apply(dz)) + sigma * mu * cones.identity()
        dx, ds, dz, dy = direction(target, 1 - sigma)
        alpha = min(1.0, 0.99 * reach(ds, dz))
        x, s, z, y = x + alpha * dx, s + alpha * ds, z + alpha * dz, y + alpha * dy
    raise AssertionError('unreachable: the last iteration returns')


class _Active:
    """The KKT system with the constraints that are active at a point as equations.

    A linear row is an equation or absent, as its multiplier exceeds its slack or not. A cone is absent where its
    multiplier vanishes, has all its rows pinned where its slack does, and else has its normal (1, -v/|v|)/√2 as an
    equation and, across it, the curvature z_t / |v| of its boundary.
    """

    def __init__(self, program, P: Tensor, G: Tensor, A: Tensor, s: Tensor, z: Tensor):
        self.program, self.cones = program, program.cones
        self.system = system = _System(program, P, G, A)
        cones, linear = self.cones, self.cones.linear
        self.pinned = torch.zeros_like(s)
        self.pinned[:linear] = (z[:linear] > s[:linear]).double()
        self.bound, self.normal = s.new_zeros(cones.count), torch.zeros_like(s)
        bend, squares, stiff = torch.zeros_like(s), [], system.stiff
        if cones.count:
            free, tip = cones.margins(s)[linear:] > z[cones.heads], cones.margins(z)[linear:] > s[cones.heads]
            self.pinned[linear:] = tip[cones.owner].double()
            self.bound = (~free & ~tip).double()
            self.normal = self.normals(s)
            curvature = torch.where(self.bound > 0, z[cones.heads] / cones.tails(s).clamp(min=1e-300), 0.0)
            bend[linear:] = curvature[cones.owner]
            bend[cones.heads] = 0
            radial = self.normal.clone()
            radial[cones.heads] = 0
            squares = [(-2 * curvature, radial)]
        more = [(stiff * self.bound, self.normal)] if cones.count else []
        self.regular = system.factorize(bend + stiff * self.pinned, [*squares, *more])
        system.weights, system.squares = bend, squares      # from here on Ω is what is not an equation

    def normals(self, s: Tensor) -> Tensor:
        """(1, -v/|v|)/√2 of the cones that bind, zero elsewhere (m,)."""
        cones, linear = self.cones, self.cones.linear
        normal = -s / torch.cat([torch.ones_like(s[:linear]), cones.tails(s).clamp(min=1e-300)[cones.owner]])
        normal[cones.heads] = 1
        normal[:linear] = 0
        normal[linear:] *= 0.5 ** 0.5 * self.bound[cones.owner]
        return normal

    def equations(self, x: Tensor) -> list[Tensor]:
        """A x, G x of pinned rows, and along cones' normals."""
        Gx = self.system.G(x)
        return [self.system.A(x), self.pinned * Gx, self.cones.dots(self.normal, Gx)]

    def on_rows(self, row: Tensor, cone: Tensor, normal: Tensor) -> Tensor:
        """Multipliers (m,) from those of pinned rows and of normals."""
        z, linear = row.clone(), self.cones.linear
        z[linear:] += cone[self.cones.owner] * normal[linear:]
        return z

    def transposed(self, duals: list[Tensor]) -> Tensor:
        return self.system.AT(duals[0]) + self.system.GT(self.on_rows(duals[1], duals[2], self.normal))

    def solve(self, left: Tensor, gaps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x and duals y of (P + Gᵀ Ω G) x + Eᵀ y = left, E x = gaps."""
        system, x, duals = self.system, torch.zeros_like(left), [torch.zeros_like(g) for g in gaps]
        for _ in range(6):
            missing = [g - e for g, e in zip(gaps, self.equations(x))]
            rest = left - system.P(x) - system.GT(system.omega(system.G(x))) - self.transposed(duals)
            step = self.program.matrix.solve(rest + system.stiff * self.transposed(missing))
            duals = [y + system.stiff * (e - g) for y, e, g in zip(duals, self.equations(step), missing)]
            x = x + step
        return x, duals


def polish(program, P: Tensor, q: Tensor, G: Tensor, h: Tensor, A: Tensor, b: Tensor, point: Point) -> Point:
    """The point moved by Newton's method on its active constraints; as it was, where that does not improve it."""
    cones = program.cones
    active = _Active(program, P, G, A, point.s, point.z)
    if not active.regular:
        return point
    system, x, y = active.system, point.x, point.y
    row, cone = active.pinned * point.z, active.bound * 2 ** 0.5 * point.z[cones.heads]

    def errors(x, y, row, cone):
        s = h - system.G(x)
        z = active.on_rows(row, cone, active.normals(s))
        along = cones.dots(active.normals(s), s)
        return s, z, system.P(x) + q + system.GT(z) + system.AT(y), [b - system.A(x), active.pinned * s, along]
    for _ in range(3):
        _, _, dual, gaps = errors(x, y, row, cone)
        step, (dy, drow, dcone) = active.solve(-dual, gaps)
        x, y, row, cone = x + step, y + dy, row + drow, cone + dcone
    s, z, dual, gaps = errors(x, y, row, cone)
    before = max(_norm(system.P(point.x) + q + system.GT(point.z) + system.AT(point.y)),
                 _norm(h - system.G(point.x) - point.s), _norm(b - system.A(point.x)), (point.s @ point.z).item())
    outside = -min(cones.margins(s).min().item(), cones.margins(z).min().item()) if cones.rows else 0.0
    if not max(_norm(dual), *map(_norm, gaps), outside) <= max(before, 1e-13):
        return point
    return Point(x, s, z, y, point.codes)


@torch.no_grad()
def conic_sensitivity(program, P: Tensor, G: Tensor, A: Tensor, point: Point, slope: Tensor
                      ) -> tuple[Tensor, Tensor, Tensor] | None:
    """dx, dz, dy of the KKT system at the solution for a loss's slope by x; None where that is singular."""
    active = _Active(program, P, G, A, point.s, point.z)
    if not active.regular:
        return None
    gaps = [slope.new_zeros(program.p), slope.new_zeros(program.m), slope.new_zeros(program.cones.count)]
    dx, (dy, row, cone) = active.solve(-slope, gaps)
    return dx, active.on_rows(row, cone, active.normal) + active.system.omega(active.system.G(dx)), dy
