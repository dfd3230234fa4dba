"""Sparse quadratic programs over second-order cones, analysed once and solved again and again, with gradients.

    x* = argmin ½ xᵀ P x + qᵀ x   subject to   h - G x ∈ K,  A x = b

K is the product of nonnegative numbers and of cones {(t, v): |v| ≤ t}.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pypose_core.convex.cones import Cones
from pypose_core.convex.conic_solver import conic_sensitivity, solve_cones
from pypose_core.convex.normal_matrix import NormalMatrix
from pypose_core.convex.quadratic import QpResult


class _Sparse:
    """A matrix by places (2, entries), rows ascending, whose values come with each call."""

    def __init__(self, matrix: Tensor, shape: tuple[int, int], name: str):
        if tuple(matrix.shape) != shape:
            raise ValueError(f'{name} has shape {tuple(matrix.shape)}; {shape} is needed')
        matrix = (matrix.detach().to_sparse_coo() if matrix.layout != torch.sparse_coo else matrix.detach()).coalesce()
        self.places, self.values, self.shape = matrix.indices(), matrix.values().double(), shape

    def times(self, values: Tensor, x: Tensor) -> Tensor:
        return x.new_zeros(self.shape[0]).index_add_(0, self.places[0], values * x[self.places[1]])

    def transposed_times(self, values: Tensor, y: Tensor) -> Tensor:
        return y.new_zeros(self.shape[1]).index_add_(0, self.places[1], values * y[self.places[0]])


class ConicProgram:
    """The pattern of a program, and its solver.

    Args:
        P: (n, n) positive semidefinite, both triangles. G: (m, n). A: (p, n). Sparse, or dense with zeros where
            there is nothing; where they are not zero is where they may have values.
        nonnegative: how many of the first rows of h - G x are nonnegative; by default those not in cones.
        second_order: sizes of the cones that the rows after them make, the first row of each its t.
        tolerance: of the residuals relative to q and h, and of the gap relative to the objective, at which the interior
            point ends; Newton's method on the active constraints then takes the rest.
        max_iterations: of the interior point.
    """

    def __init__(self, P: Tensor, G: Tensor | None = None, A: Tensor | None = None, *, nonnegative: int | None = None,
                 second_order: Sequence[int] = (), tolerance: float = 1e-9, max_iterations: int = 60):
        n = P.shape[-1]
        G, A = (torch.zeros(0, n) if M is None else M for M in (G, A))
        self.n, self.m, self.p = n, len(G), len(A)
        self.P, self.G, self.A = (_Sparse(M, (rows, n), name) for M, rows, name in
                                  ((P, n, 'P'), (G, self.m, 'G'), (A, self.p, 'A')))
        self.cones = Cones(self.m - sum(second_order) if nonnegative is None else nonnegative, second_order)
        if self.cones.rows != self.m:
            raise ValueError(f'{self.cones.linear} nonnegative rows and cones of {list(second_order)} make '
                             f'{self.cones.rows} rows; G has {self.m}')
        self.tolerance, self.max_iterations = tolerance, max_iterations
        below = torch.cat([self.A.places, self.G.places + torch.tensor([[self.p], [0]])], 1)
        self.matrix = NormalMatrix(n, self.P.places, below, self.cones, self.p + self.m)

    def solve(self, q: Tensor, h: Tensor | None = None, b: Tensor | None = None, *, P: Tensor | None = None,
              G: Tensor | None = None, A: Tensor | None = None) -> QpResult:
        """The minimizer, differentiable by all arguments.

        Args:
            q: (n,). h: (m,). b: (p,).
            P, G, A: values (entries,) in the order of `P.places`, `G.places`, `A.places`, by rows; by default those
                of the constructor. Any argument may have a batch before its shape, whose programs are solved in turn.

        Returns:
            QpResult; `inequality` are the multipliers of the cones.

        Raises:
            ValueError: shapes that do not fit.
            torch.linalg.LinAlgError: in backward, where the solution is not unique.
        """
        zero = q.new_zeros(0)
        given = [self.P.values if P is None else P, q, self.G.values if G is None else G, zero if h is None else h,
                 self.A.values if A is None else A, zero if b is None else b]
        sizes = {'P': len(self.P.values), 'q': self.n, 'G': len(self.G.values), 'h': self.m, 'A': len(self.A.values),
                 'b': self.p}
        batches = set()
        for t, (name, size) in zip(given, sizes.items()):
            if t.shape[-1:] != (size,) or t.ndim > 2:
                raise ValueError(f'{name} has shape {tuple(t.shape)}; ({size},) with at most a batch before it is '
                                 f'needed')
            batches |= {len(t)} if t.ndim == 2 else set()
        if len(batches) > 1:
            raise ValueError(f'the arguments have batches of {sorted(batches)}')
        given = [t.to(torch.float64) for t in given]
        if not batches:
            return QpResult(*_Layer.apply(self, *given))
        rows = [_Layer.apply(self, *(t[i] if t.ndim == 2 else t for t in given)) for i in range(batches.pop())]
        return QpResult(*(torch.stack(parts) for parts in zip(*rows)))


class _Layer(torch.autograd.Function):

    @staticmethod
    def forward(ctx, program, P, q, G, h, A, b):
        point = solve_cones(program, P, q, G, h, A, b)
        ctx.program, ctx.point = program, point
        ctx.save_for_backward(P, G, A)
        ctx.mark_non_differentiable(point.z, point.y, point.codes)
        return point.x, point.z, point.y, point.codes

    @staticmethod
    def backward(ctx, slope, *_):
        program, point = ctx.program, ctx.point
        P, G, A = ctx.saved_tensors
        found = conic_sensitivity(program, P, G, A, point, slope)
        if found is None:
            raise torch.linalg.LinAlgError('the solution is not unique, so it has no gradient')
        dx, dz, dy = found
        x, z, y = point.x, point.z, point.y

        def outer(places, left, right):
            return left[places[0]] * right[places[1]]
        return (None, 0.5 * (outer(program.P.places, dx, x) + outer(program.P.places, x, dx)), dx,
                outer(program.G.places, dz, x) + outer(program.G.places, z, dx), -dz,
                outer(program.A.places, dy, x) + outer(program.A.places, y, dx), -dy)
