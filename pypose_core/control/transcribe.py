"""From the functions of an optimal control problem to the tapes that the native solver evaluates.

Each stage has a record of cost, gradient g and Hessian H by w = [u; δx], the defect c = f(x, u) ⊖ x₊ and its
Jacobian M, the constraint rows d and their Jacobian D. What is constant in it, or zero, is never computed again.
"""
from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from pypose_core.control.expression import Graph, Node, jacobian
from pypose_core.control.problem import LeastSquares
from pypose_core.control.state_space import Rotation, StateSpace
from pypose_core.control.tape import Tape, compile_tape
from pypose_core.control.traced import Traced


class Layout(NamedTuple):
    """Where the parts of a record begin, in doubles; rows of matrices have `ld` numbers."""

    cost: int
    g: int
    c: int
    d: int
    H: int
    M: int
    D: int
    stride: int

    @classmethod
    def of(cls, nx: int, nw: int, nd: int, ld: int) -> Layout:
        def up(n):
            return (n + 7) // 8 * 8
        g = 8
        c = g + up(ld)
        d = c + up(nx)
        H = d + up(max(nd, 1))
        M = H + up(nw * ld)
        D = M + up(max(nx, 1) * ld)
        return cls(0, g, c, d, H, M, D, D + up(max(nd, 1) * ld))

    @classmethod
    def of_values(cls, nx: int, nd: int) -> Layout:
        d = 8 + (nx + 7) // 8 * 8
        return cls(0, 0, 8, d, 0, 0, 0, d + (max(nd, 1) + 7) // 8 * 8)


def leading_dimension(nw: int) -> int:
    """Numbers per row for nw of them, as the native kernels are compiled for."""
    for ld in (4, 8, 12, 16, 20, 24, 32, 48, 64):
        if nw <= ld:
            return ld
    raise ValueError(f'{nw} states and controls per stage; at most 64 are supported')


class _Stage:
    """The symbols of one stage, and derivatives by its controls and the state's tangent."""

    def __init__(self, space: StateSpace, nu: int, shapes: dict[str, tuple[int, ...]], nd: int):
        self.graph = Graph()
        self.space, self.nu = space, nu
        n = space.size
        self.u = Traced.inputs(self.graph, 0, (nu,))
        self.x = Traced.inputs(self.graph, nu, (n,))
        self.after = Traced.inputs(self.graph, nu + n, (n,))
        at, self.p = nu + 2 * n, SimpleNamespace()
        for name, shape in shapes.items():
            setattr(self.p, name, Traced.inputs(self.graph, at, shape))
            at += int(np.prod(shape, dtype=int))
        self.costate = Traced.inputs(self.graph, at, (space.tangent,))
        self.multiplier = Traced.inputs(self.graph, at + space.tangent, (nd,))

    def jacobian(self, outputs: list[int], controls: bool) -> list[dict[int, int]]:
        """By w = [u; δx], or by δx in the columns of w."""
        g, nu = self.graph, self.nu
        u, x = self.u.nodes(g), self.x.nodes(g)
        rows = jacobian(g, outputs, u + x)
        result = []
        for row in rows:
            found = {i: d for i, d in row.items() if i < nu and controls}
            for part, number, column in self.space.pieces():
                if isinstance(part, Rotation):
                    # ∂(q Exp(δ))/∂δ = ½ q ⊗ e_i
                    qx, qy, qz, qw = (Node(g, x[number + i]) for i in range(4))
                    basis = ((qw, qz, -qy, -qx), (-qz, qw, qx, -qy), (qy, -qx, qw, -qz))
                    for i in range(3):
                        total = sum((0.5 * basis[i][j] * Node(g, row[nu + number + j])
                                     for j in range(4) if nu + number + j in row), Node(g, g.constant(0)))
                        found[nu + column + i] = total.index
                else:
                    for i in range(part.size):
                        if nu + number + i in row:
                            found[nu + column + i] = row[nu + number + i]
            result.append({i: d for i, d in found.items() if g.value(d) != 0})
        return result


def _quadratic(stage: _Stage, cost, values: Traced, controls: bool, lagrangian: Traced | None
               ) -> tuple[int, dict[int, int], dict[tuple[int, int], int]]:
    """Nodes of the cost, its gradient and its Hessian (both triangles)."""
    g = stage.graph

    def add(total, term):
        return term if total is None else g.make('add', total, term)
    gradient: dict[int, int] = {}
    hessian: dict[tuple[int, int], int] = {}
    if isinstance(cost, LeastSquares):
        residuals = values.nodes(g)
        total = g.constant(0)
        for r, row in zip(residuals, stage.jacobian(residuals, controls)):
            total = g.make('add', total, g.make('mul', r, r))
            for i, a in row.items():
                gradient[i] = add(gradient.get(i), g.make('mul', a, r))
                if lagrangian is None:
                    for j, b in row.items():
                        hessian[i, j] = add(hessian.get((i, j)), g.make('mul', a, b))
        total = g.make('mul', g.constant(0.5), total)
    else:
        (total,) = values.nodes(g)
        gradient = stage.jacobian([total], controls)[0]
    if lagrangian is not None or not isinstance(cost, LeastSquares):
        whole = Node(g, total)
        if lagrangian is not None:
            whole = whole + Node(g, lagrangian.nodes(g)[0])
        slopes = stage.jacobian([whole.index], controls)[0]
        columns = sorted(slopes)
        for i, row in zip(columns, stage.jacobian([slopes[i] for i in columns], controls)):
            for j, d in row.items():
                hessian[i, j] = d
    return total, gradient, hessian


def transcribe(*, dynamics: Callable | None, stage_cost, terminal_cost, stage_rows: list[Callable],
               state_rows: list[Callable], row_counts: list[int], space: StateSpace, nu: int,
               shapes: dict[str, tuple[int, ...]], exact: bool) -> list[Tape]:
    """Trace everything once: the tapes of a stage, of its values alone, of the end, of its values alone, of the step.

    Args:
        dynamics: x₊(x, u, p); None where it is evaluated elsewhere. stage_cost, terminal_cost: LeastSquares or Cost.
        stage_rows, state_rows: constraint functions of (x, u, p) and of (x, p), in the order of their rows.
        row_counts: number of rows of each of them, stage_rows first.
        exact: the Hessian of the Lagrangian in place of Gauss-Newton's.

    Raises:
        Untraceable: one of the functions cannot be expressed.
    """
    if exact and space.rotations:
        raise ValueError('the exact Hessian is for states that are vectors; use Gauss-Newton with rotations')
    nd, nx = sum(row_counts), space.tangent
    nw = nu + nx
    ld = leading_dimension(nw)
    full, value = Layout.of(nx, nw, nd, ld), Layout.of_values(nx, nd)

    def tapes(terminal: bool) -> tuple[Tape, Tape, Tape | None]:
        s = _Stage(space, nu, shapes, nd)
        g = s.graph
        cost = terminal_cost if terminal else stage_cost
        function = cost.residual if isinstance(cost, LeastSquares) else cost.value
        values = _as_traced(function(s.x, s.p) if terminal else function(s.x, s.u, s.p))
        rows: list[int | None] = []
        for i, f in enumerate(stage_rows + state_rows):
            on_stage = i < len(stage_rows)
            if on_stage and terminal:
                rows += [None] * row_counts[i]
                continue
            nodes = _as_traced(f(s.x, s.u, s.p) if on_stage else f(s.x, s.p)).nodes(g)
            if len(nodes) != row_counts[i]:
                raise ValueError(f'a constraint gives {len(nodes)} rows where {row_counts[i]} were expected')
            rows += nodes
        after = None if terminal or dynamics is None else _as_traced(dynamics(s.x, s.u, s.p))
        if after is not None and after.shape != (space.size,):
            raise ValueError(f'the dynamics return shape {tuple(after.shape)}; the state has {space.size} numbers')
        defect = [] if after is None else space.local(s.after, after).nodes(g)
        lagrangian = None
        if exact:
            terms = [Node(g, c) * s.costate[i].elements.item() for i, c in enumerate(defect)]
            terms += [Node(g, d) * s.multiplier[i].elements.item() for i, d in enumerate(rows) if d is not None]
            lagrangian = Traced(sum(terms, Node(g, g.constant(0))))
        total, gradient, hessian = _quadratic(s, cost, values, not terminal, lagrangian)
        out = {full.cost: total}
        out |= {full.g + i: n for i, n in gradient.items()}
        out |= {full.H + ld * i + j: n for (i, j), n in hessian.items()}
        out |= {full.c + i: n for i, n in enumerate(defect)}
        for i, row in enumerate(s.jacobian(defect, True)):
            out |= {full.M + ld * i + j: n for j, n in row.items()}
        present = [(i, n) for i, n in enumerate(rows) if n is not None]
        out |= {full.d + i: n for i, n in present}
        for (i, _), row in zip(present, s.jacobian([n for _, n in present], not terminal)):
            out |= {full.D + ld * i + j: n for j, n in row.items()}
        values_only = {value.cost: total} | {value.c + i: n for i, n in enumerate(defect)}
        values_only |= {value.d + i: n for i, n in present}
        step = None if after is None else compile_tape(g, dict(enumerate(after.nodes(g))))
        return compile_tape(g, out), compile_tape(g, values_only), step

    stage, stage_value, step = tapes(terminal=False)
    end, end_value, _ = tapes(terminal=True)
    return [stage, stage_value, end, end_value, step or Tape.empty()]


def _as_traced(x) -> Traced:
    return x if isinstance(x, Traced) else Traced(x.numpy() if isinstance(x, torch.Tensor) else x)
