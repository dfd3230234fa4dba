"""LQR and MPC beside PyPose, and beside a plain batched Riccati recursion in torch.

LQR is the data folder's task: n = 12 states, m = 4 inputs, T = 50 steps, float64. PyPose's form has no cost at the end;
the task's is put into the last step's, as x_T = A x + B u. MPC of a cart with a pole, T = 50.

Needs the task: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import json
import warnings
from collections.abc import Iterator

import torch
from harness import Record, compare, main
from mpc_tasks import DATA, tasks

import pypose_core as pp
from pypose_core.control.riccati import reference

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import pypose

N, M, T = 12, 4, 50
STORED = json.loads((DATA / 'references.json').read_text())['a_lqr_mean_cost']


def problem(library, batch: int):
    """The task's one system and weights, all of which ask for gradients, from many initial states."""
    given = {name: torch.from_numpy(z) for name, z in tasks.lqr_problem().items() if name != 'T'}
    AB = torch.cat([given['A'], given['B']], 1)
    Q = torch.block_diag(given['Q'], given['R']).repeat(T, 1, 1)
    Q[-1] += AB.mT @ given['Qf'] @ AB
    p, c = torch.zeros(T, N + M).double(), torch.zeros(N).double()
    leaves = [z.requires_grad_() for z in (Q, p, given['A'], given['B'], c, given['x0'][:batch].clone())]
    system = library.module.LTI(*leaves[2:4], torch.eye(N).double(), torch.zeros(N, M).double(), c)
    Q, p = Q.expand(batch, -1, -1, -1), p.expand(batch, -1, -1)
    return leaves, lambda: library.module.LQR(system, Q, p, T)(leaves[-1])


def once(solve, leaves, backward: bool):
    with torch.set_grad_enabled(backward):
        x, u, cost = solve()[:3]
    if not backward:
        return x, u
    return torch.autograd.grad(x.square().sum() + u.square().sum() + cost.sum(), leaves)


def close(a, b) -> bool:
    return all(bool((s - t).abs().max() <= 1e-8 * (1 + t.abs().max())) for s, t in zip(a, b))


def symmetric(grads):
    """A gradient by a matrix of which only the symmetric part counts."""
    return (grads[0] + grads[0].mT) / 2, *grads[1:]


def lqr(batch: int, backward: bool, rounds: int) -> Iterator[Record]:
    leaves, ours = problem(pp, batch)
    theirs_leaves, theirs = problem(pypose, batch)
    Q, p, A, B, c, x = leaves

    def plain():
        return reference(Q[None], p[None], A[None, None], B[None, None], c[None, None], x, T)
    kind = 'forward and backward' if backward else 'forward'
    case = f'LQR n = {N}, m = {M}, T = {T}, batch {batch}, {kind}'
    with torch.no_grad():
        cost = float(ours()[2].mean())
    expected = STORED[f'B{batch}']
    assert abs(cost / expected - 1) < 1e-4, f'mean cost {cost}, stored {expected}'
    note = (f'trajectories or gradients agree to 1e-8 of their size; mean cost {cost:.8g}, {cost / expected - 1:.0e} '
            f'off the stored one')
    tidy = symmetric if backward else tuple
    yield compare(case, peer='pypose 0.9.5', ours=lambda: tidy(once(ours, leaves, backward)),
                  theirs=lambda: tidy(once(theirs, theirs_leaves, backward)), agree=close, target=20, rounds=rounds,
                  note=note)
    yield compare(case, peer='the same recursion in plain torch, batched',
                  ours=lambda: tidy(once(ours, leaves, backward)), theirs=lambda: tidy(once(plain, leaves, backward)),
                  agree=close, target=1, rounds=rounds, note=note)


def cartpole(library):
    """The same for both libraries: an Euler step of 0.02 s of a pole of 0.1 kg and 1 m on a cart of 1 kg."""
    class Cart(library.module.NLS):
        def state_transition(self, state, input, t=None):
            v, angle, turning = state[..., 1], state[..., 2], state[..., 3]
            c, s = angle.cos(), angle.sin()
            q = (input[..., 0] + 0.05 * turning * turning * s) / 1.1
            angular = (9.81 * s - c * q) / (0.5 * (4 / 3 - c * c * (0.1 / 1.1)))
            return state + 0.02 * torch.stack([v, q - angular * c * (0.05 / 1.1), turning, angular], -1)

        def observation(self, state, input, t=None):
            return state
    return Cart()


def mpc(rounds: int) -> Record:
    """PyPose's gradients of it fail: it writes into trajectories that the graph still needs."""
    steps = 50
    Q = torch.diag(torch.tensor([1.0, 0.1, 10.0, 0.1, 0.01])).double().expand(1, steps, 5, 5).contiguous()
    p, x_init = torch.zeros(1, steps, 5).double(), torch.tensor([[0.0, 0.0, 0.4, 0.0]]).double()

    def controller(library):
        stepper = library.utils.ReduceToBason(steps=10)
        solve = library.module.MPC(cartpole(library), Q, p, steps, stepper=stepper)

        def run():
            with torch.no_grad():
                return solve(0.02, x_init)[:2]
        return run
    return compare(f'MPC of a cart and pole, T = {steps}', peer='pypose 0.9.5', ours=controller(pp),
                   theirs=controller(pypose), target=50, rounds=rounds, note='trajectories agree to 1e-3 of their size',
                   agree=lambda a, b: all(bool((s - t).abs().max() < 1e-3 * (1 + t.abs().max())) for s, t in zip(a, b)))


def records(quick: bool) -> Iterator[Record]:
    for batch in (1, 64) if quick else (1, 64, 1024):
        for backward in (False, True):
            yield from lqr(batch, backward, 2 if quick or batch > 64 else 5)
    yield mpc(2 if quick else 3)


if __name__ == '__main__':
    main(records, __doc__)
