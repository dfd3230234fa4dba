"""Dense quadratic programs as a layer: forward and backward.

The data folder's random programs with 50 unknowns and 50 inequalities; the loss is the sum of the solutions, its
gradient by q is compared with the stored one. Against qpth, cvxpylayers (diffcp in mode lsmr: gradients in its default
mode are wrong by 10 to 39 percent on these) and proxsuite.

Needs the programs: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version

import cvxpy as cp
import numpy as np
import torch
from cvxpylayers.torch import CvxpyLayer
from harness import Record, compare, main
from mpc_tasks import DATA, tasks
from proxsuite.torch.qplayer import QPFunction as ProxFunction
from qpth.qp import QPFunction

from pypose_core.convex import solve_qp

warnings.filterwarnings('ignore', category=UserWarning)     # the peers' own


def by_ours(P, q, G, h):
    return solve_qp(P, q, G, h).x


def by_qpth(P, q, G, h):
    none = torch.empty(0, dtype=torch.float64)
    return QPFunction(verbose=-1)(P, q, G, h, none, none)


def by_proxsuite(P, q, G, h):
    n, B = q.shape[-1], len(q)
    none = torch.zeros(B, 0, n, dtype=torch.float64), torch.zeros(B, 0, dtype=torch.float64)
    return ProxFunction(structural_feasibility=True)(P, q, *none, G, torch.full_like(h, -1e20), h)[0]


def by_cvxpylayers(n: int, m: int) -> Callable:
    """A layer of the root of P, as disciplined parametrized programming wants it."""
    root, q, G, h, x = cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter((m, n)), cp.Parameter(m), cp.Variable(n)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(root @ x) + q @ x), [G @ x <= h])
    layer = CvxpyLayer(problem, parameters=[root, q, G, h], variables=[x])

    def solve(P, q, G, h):
        return layer(torch.linalg.cholesky(P).mT, q, G, h, solver_args={'mode': 'lsmr', 'eps': 1e-9})[0]
    return solve


def records(quick: bool) -> Iterator[Record]:
    expected_x = np.load(DATA / 'qp_reference_x.npy')
    expected_g = np.load(DATA / 'qp_reference_gq.npy')
    layers = by_cvxpylayers(tasks.F_SPEC['n'], tasks.F_SPEC['m_ineq'])
    for batch in (1, 8) if quick else tasks.F_SPEC['batches']:
        given = [torch.from_numpy(t).requires_grad_() for t in tasks.qp_batch(batch)]

        def run(solve, given=given):
            x = solve(*given)
            return x.detach().numpy(), torch.autograd.grad(x.sum(), given)[1].numpy()

        for name, solve, target in (('proxsuite', by_proxsuite, 1.0 if batch == 1 else None),
                                    ('qpth', by_qpth, None if batch == 1 else 2.0),
                                    ('cvxpylayers', layers, None if batch == 1 else 10.0)):
            seen = {}

            def agree(ours, theirs, batch=batch, seen=seen):
                errors = [[np.abs(a - e[:batch]).max() for a, e in zip(side, (expected_x, expected_g))]
                          for side in (ours, theirs)]
                seen['text'] = (f'largest errors of solution and gradient {errors[0][0]:.0e}, {errors[0][1]:.0e}, '
                                f'of the peer {errors[1][0]:.0e}, {errors[1][1]:.0e}')
                return max(errors[0]) <= 1e-5 and errors[1][0] <= 1e-3
            record = compare(f'n = 50, 50 inequalities, batch {batch}, forward and backward',
                             peer=f'{name} {version(name)}', ours=lambda: run(by_ours),
                             theirs=lambda s=solve: run(s), agree=agree, target=target,
                             rounds=3 if quick or name == 'cvxpylayers' else 5)
            yield replace(record, note=seen['text'])


if __name__ == '__main__':
    main(records, __doc__)
