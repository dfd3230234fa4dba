"""Gradients through sparse least squares: a backward pass beside one linear solve.

The layer optimizes sphere2500; its backward gives the gradients by all measurements and information matrices, with the
exact Hessian and the factor that the optimizer left. Beside it, what one iteration of the optimizer pays for its linear
system: factorization and substitution. Asked, on sphere2500: at most 1.5 of these, so a ratio of at least 0.67; where
the factor is thin, as the garage's, everything else weighs more. Agreement: the
derivative along a random change of the measurements within 1e-3 of finite differences of the solver.

Needs the graphs: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from harness import Record, compare, main

from pypose_core.graph import SE3, LevenbergMarquardt, SolverLayer, chordal_initialization, read_g2o

DATA = Path(os.environ.get('PYPOSE_DATA', Path(__file__).parents[2] / 'shared' / 'data'))


STEP = 1e-4


def one(name: str) -> Record:
    graph = read_g2o(DATA / 'pgo3d' / f'{name}.g2o').graph
    chordal_initialization(graph, 'SE3')
    edges = graph.factors[0]
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(len(edges), 6, generator=generator, dtype=torch.float64)
    mix = torch.randn(len(graph.values['SE3']), 3, generator=generator, dtype=torch.float64)
    layer = SolverLayer(graph, [(edges, 'measured'), (edges, 'information')],
                        solver=LevenbergMarquardt(tolerance=1e-12))
    measured = edges.measured.clone().requires_grad_()
    information = edges.information.clone().requires_grad_()

    def loss(Z):
        return (layer(Z, information)['SE3'][:, :3] * mix).sum()

    with torch.no_grad():
        up, down = (float(loss(SE3.retract(measured, step * change))) for step in (STEP, -STEP))
    value = loss(measured)

    def backward():
        return torch.autograd.grad(value, (measured, information), retain_graph=True)

    def along(gradient):
        d = torch.zeros((), dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(SE3.retract(measured.detach(), d * change), d, gradient)[0])

    backward()
    solves, factorizations = layer.adjoint.solves, layer.adjoint.factorizations
    problem = graph.problem()
    _, _, H, g = problem.linearize(graph.values)
    record = compare(f'{name}, backward of {len(edges)} measurements and information matrices',
                     peer='one linear solve of ours', ours=backward,
                     theirs=lambda: problem.solver.factorize(H).solve(g),
                     target=1 / 1.5 if name == 'sphere2500' else None,
                     agree=lambda gradient, _: abs(along(gradient[0]) / ((up - down) / (2 * STEP)) - 1) < 1e-3)
    return replace(record, note=f'{1 / record.ratio:.3g} linear solves: {solves} back-substitutions, '
                                f'{factorizations} factorizations')


def records(quick: bool) -> Iterator[Record]:
    if not DATA.is_dir():
        sys.exit(f'no graphs: {DATA} is absent (set PYPOSE_DATA)')
    for name in ('sphere2500',) if quick else ('parking-garage', 'sphere2500', 'torus3D'):
        yield one(name)


if __name__ == '__main__':
    main(records, __doc__)
