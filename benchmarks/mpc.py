"""Model predictive control on the tasks of the data folder.

Against CasADi's interfaces to fatrop and, by its SQP method, to HPIPM, with options that suit control
(peers/casadi_mpc.py). Both sides get the states of one closed loop one after the other, each begins at its last
solution one step later, and each call is made as a user makes it. Costs and violations are those of the controls
rolled out through the model.

Needs the tasks: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import casadi as ca
import numpy as np
import torch
from harness import Record, compare, main
from mpc_tasks import DATA, FASTER, Bicycle, Quadrotor, Unicycle, cartpole, tasks, tensor
from peers.casadi_mpc import CasadiMpc

from pypose_core.control import OcpOptions

C = tasks.casadi_ops()
VERSION = f'casadi {ca.__version__}'


def states(task, ocp, steps: int) -> list[tuple]:
    """(state, control before, parameters, stage) of the closed loop under our controller."""
    x, before = task.start()
    found = []
    for k in range(steps):
        found.append((x, before, task.parameters(k), k))
        before = ours(ocp, task, found[-1], k == 0)[0]
        x = task.plant(x, before, k)
    return found


def ours(ocp, task, given, first: bool, options: OcpOptions | None = None) -> np.ndarray:
    """Controls of one solve."""
    x, before, parameters, _ = given
    return ocp.solve(tensor(task.ours(x)), u_prev=tensor(before) if ocp.rates else None, parameters=parameters,
                     start='roll' if first else 'shift',
                     guess=(None, tensor(task.guess())) if first else None,
                     options=None if first else options).controls.numpy()


NAMES = {'fatrop': f'{VERSION} fatrop', 'hpipm': f'{VERSION} SQP with HPIPM'}
ONCE = OcpOptions(max_iterations=1, line_search=False, qp_tolerance=1e-7)


def peer_problem(task, solver: str, iterations: int = 100) -> CasadiMpc:
    """The same problem in CasADi."""
    s, inf = task.spec, np.inf
    if isinstance(task, Unicycle):
        limit, change = np.array([s['v_max'], s['w_max']]), np.array([s['dv_max'], s['dw_max']])
        W = {k: ca.DM(s[k]) for k in ('Wx', 'Wu', 'Wdu', 'Wf')}
        return CasadiMpc(
            step=lambda x, u: ca.vertcat(tasks.rk4(lambda a, b: tasks.unicycle_ode(C, a, b), x[:3], u, s['dt']), u),
            stage=lambda x, u, p: [W['Wx'] * (x[:3] - p[:3]), W['Wu'] * (u - p[3:]), W['Wdu'] * (u - x[3:])],
            end=lambda x, p: [W['Wf'] * (x[:3] - p[:3])], sizes=(5, 2, 5), N=s['N'], u_bounds=(-limit, limit),
            x_bounds=(np.full(5, -inf), np.full(5, inf)), rate=(-change, change), solver=solver,
            exact=solver == 'hpipm' and iterations > 1, iterations=iterations)
    if isinstance(task, Bicycle):
        limit = np.array([s['a_max'], s['delta_max']])
        W = {k: ca.DM(s[k]) for k in ('Wx', 'Wu', 'Wf')}
        return CasadiMpc(
            step=lambda x, u: tasks.rk4(lambda a, b: tasks.bicycle_ode(C, a, b), x, u, s['dt']),
            stage=lambda x, u, p: [W['Wx'] * (x - p), W['Wu'] * u], end=lambda x, p: [W['Wf'] * (x - p)],
            sizes=(4, 2, 4), N=s['N'], u_bounds=(-limit, limit),
            x_bounds=(np.array([-inf, -inf, -inf, s['v_min']]), np.array([inf, inf, inf, s['v_max']])),
            path=lambda x: ca.vertcat(*[(x[0] - a) ** 2 + (x[1] - b) ** 2 - (r + s['margin']) ** 2
                                        for a, b, r in s['obstacles']]), solver=solver)
    free = np.full(10, inf)
    rates = np.full(3, s['w_max'])
    hover = s['mass'] * s['g'] / 4
    return CasadiMpc(
        step=lambda x, u: tasks.quad_step(C, x, u),
        stage=lambda x, u, p: [*tasks.quad_residual(C, x, p[:3], p[3:]), ca.DM(s['Wu']) * (u - hover)],
        end=lambda x, p: [s['Wf_scale'] * r for r in tasks.quad_residual(C, x, p[:3], p[3:])], sizes=(13, 4, 6),
        N=s['N'], u_bounds=(np.full(4, s['f_min']), np.full(4, s['f_max'])),
        x_bounds=(np.r_[-free, -rates], np.r_[free, rates]), solver=solver)


def peer_controls(problem: CasadiMpc, task, given, first: bool) -> np.ndarray:
    """Controls of one solve by the peer."""
    x, before, parameters, _ = given
    x0 = np.r_[x, before] if problem.nx > len(x) else x
    if first:
        U, X = task.guess(), [x]
        for k, u in enumerate(U):
            X.append(task.plant(X[-1], u, k) if not isinstance(task, Unicycle) else tasks.step_unicycle(X[-1], u))
        X = np.array(X)
        if problem.nx > len(x):
            X = np.c_[X, np.r_[before[None], U]]
        problem.forget()
        problem.guess(X, U)
    else:
        problem.shift()
    return problem.solve(x0, np.concatenate([v.numpy() for v in parameters.values()], 1).ravel())


def scores(task, given: list, controls: list) -> np.ndarray:
    """(steps, 2): cost and violation."""
    return np.array([task.score(x, U, before, k) for (x, before, _, k), U in zip(given, controls)])


def warm(task, solver: str, steps: int, rounds: int) -> Record:
    """All states of a closed loop, one after the other."""
    ocp, problem = task.ocp(), peer_problem(task, solver)
    given = states(task, ocp, steps)
    ocp, seen = task.ocp(), {}

    def run_ours():
        return [ours(ocp, task, g, k == 0) for k, g in enumerate(given)]

    def run_theirs():
        return [peer_controls(problem, task, g, k == 0) for k, g in enumerate(given)]

    def agree(a, b):
        mine, theirs = scores(task, given, a), scores(task, given, b)
        seen['text'] = (f'mean cost {mine[:, 0].mean():.6g} and {theirs[:, 0].mean():.6g}, worst of ours '
                        f'{(mine[:, 0] / theirs[:, 0] - 1).max():.1e} above the peer\'s, largest violation '
                        f'{mine[:, 1].max():.1e} and {theirs[:, 1].max():.1e}')
        return bool((mine[:, 0] <= theirs[:, 0] * (1 + 1e-4) + 1e-9).all() and mine[:, 1].max() <= 1e-4)
    record = compare(f'{task.name}, {steps} warm started solves', peer=NAMES[solver], ours=run_ours,
                     theirs=run_theirs, agree=agree, target=task.target, rounds=rounds,
                     note='costs never more than 1e-4 above the peer\'s')
    scale = 1 / steps
    return replace(record, ours_s=record.ours_s * scale, peer_s=record.peer_s * scale,
                   note=f'{record.note}; {seen["text"]}; times of one solve')


def real_time(task, steps: int, rounds: int) -> Record:
    """The first state solved until converged, one quadratic program for each that follows."""
    ocp = task.ocp(hessian='gauss_newton')
    given = states(task, ocp, steps)
    first, once, seen = peer_problem(task, 'hpipm'), peer_problem(task, 'hpipm', 1), {}

    def run_ours():
        return [ours(ocp, task, g, k == 0, ONCE) for k, g in enumerate(given)]

    def run_theirs():
        found = [peer_controls(first, task, given[0], True)]
        once.w, once.lam_x, once.lam_g = first.w, first.lam_x, first.lam_g
        return found + [peer_controls(once, task, g, False) for g in given[1:]]

    def agree(a, b):
        mine, theirs = scores(task, given, a), scores(task, given, b)
        seen['text'] = f'{mine[:, 0].mean():.6g} and {theirs[:, 0].mean():.6g}'
        return bool(mine[:, 0].mean() <= theirs[:, 0].mean() * (1 + 1e-4) and mine[:, 1].max() <= 1e-4)
    record = compare(f'{task.name}, {steps} states, one real-time iteration each', peer=NAMES['hpipm'], ours=run_ours,
                     theirs=run_theirs, agree=agree, rounds=rounds)
    return replace(record, ours_s=record.ours_s / steps, peer_s=record.peer_s / steps,
                   note=f'mean cost at most 1e-4 above the peer\'s: {seen["text"]}; times of one solve')


def closed_loop(task, steps: int) -> Record:
    """Cost of the whole loop beside the stored one of IPOPT."""
    stored = json.loads((DATA / 'references.json').read_text())[task.reference]
    expected = next(v for k, v in stored.items() if k.startswith('closed_loop_cost_mean'))
    ocp = task.ocp()
    given = states(task, ocp, steps)
    again = task.ocp()
    start = time.process_time()
    controls = [ours(again, task, g, k == 0) for k, g in enumerate(given)]
    taken, found = (time.process_time() - start) / steps, scores(task, given, controls)
    difference = found[:, 0].mean() / expected - 1
    return Record(f'{task.name}, closed loop of {steps}', 'IPOPT, stored', taken, None, None,
                  bool(abs(difference) < 1e-3 and found[:, 1].max() <= 1e-4), None,
                  f'mean cost {found[:, 0].mean():.6g}, {difference:+.1e} of IPOPT\'s {expected:.6g}; '
                  f'largest violation {found[:, 1].max():.1e}')


def swing_up(solver: str, rounds: int) -> Record:
    """The cartpole from rest, cold."""
    s, ocp = tasks.B_SPEC, cartpole()
    wiggle = 1e-2 * np.sin(np.arange(s['N']))[:, None]
    W = {k: ca.DM(s[k]) for k in ('Wx', 'Wu', 'Wf')}
    problem = CasadiMpc(step=lambda x, u: tasks.rk4(lambda a, b: tasks.cartpole_ode(C, a, b), x, u, s['dt']),
                        stage=lambda x, u, p: [W['Wx'] * (x - s['goal']), W['Wu'] * u],
                        end=lambda x, p: [W['Wf'] * (x - s['goal'])], sizes=(4, 1, 0), N=s['N'],
                        u_bounds=(np.full(1, -np.inf), np.full(1, np.inf)),
                        x_bounds=(np.full(4, -np.inf), np.full(4, np.inf)), solver=solver)
    X = np.array(tasks.roll(lambda x, u: tasks.rk4(lambda a, b: tasks.cartpole_ode(tasks.NP, a, b), x, u, s['dt']),
                            s['x0'], wiggle))
    seen = {}

    def run_ours():
        return ocp.solve(torch.zeros(4), start='roll', guess=(None, tensor(wiggle))).controls.numpy()

    def run_theirs():
        problem.forget()
        problem.guess(X, wiggle)
        return problem.solve(np.zeros(4), np.zeros(0))

    def agree(a, b):
        seen['costs'] = tasks.score_cartpole(a)[0], tasks.score_cartpole(b)[0]
        return seen['costs'][0] <= 9.18
    record = compare('cartpole swing-up N = 60, cold', peer=NAMES[solver], ours=run_ours,
                     theirs=run_theirs, agree=agree, target=1.0, rounds=rounds, note='cost at most 9.18')
    return replace(record, note=f'{record.note}: {seen["costs"][0]:.6g} and {seen["costs"][1]:.6g}')


def torch_dynamics(steps: int, backend: str) -> Record:
    """The unicycle evaluated by torch in part or in whole, beside the same problem traced; steps of 1e-3 are small."""
    task = Unicycle()
    given = states(task, task.ocp(hessian='gauss_newton'), steps)
    nothing = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))     # as a learned residual: it is never traced
    slow = task.ocp(backend, (lambda x, u: nothing) if backend == 'auto' else None, 'gauss_newton')
    fast = task.ocp(hessian='gauss_newton')
    slow.options = fast.options = FASTER
    what = 'dynamics that cannot be traced' if slow.in_torch == 'dynamics' else 'all functions by torch'
    record = compare(f'{task.name}, {what}', peer='ours, traced',
                     ours=lambda: [ours(slow, task, g, k == 0) for k, g in enumerate(given)],
                     theirs=lambda: [ours(fast, task, g, k == 0) for k, g in enumerate(given)], rounds=3,
                     agree=lambda a, b: all(np.allclose(x, y, atol=1e-3) for x, y in zip(a, b)),
                     note=f'controls to 1e-3; {"asked: at most 10 ms; " * (backend == "auto")}times of one solve')
    return replace(record, ours_s=record.ours_s / steps, peer_s=record.peer_s / steps)


def records(quick: bool) -> Iterator[Record]:
    rounds = 3 if quick else 5
    for task in (Unicycle(), Bicycle(), Quadrotor()):
        for solver in ('fatrop', 'hpipm'):
            yield warm(task, solver, 20 if quick else min(task.steps, 60), rounds)
        if not quick:
            yield closed_loop(task, task.steps)
    yield real_time(Unicycle(), 20 if quick else 60, rounds)
    yield swing_up('fatrop', rounds)
    for backend in ('auto', 'torch'):
        yield torch_dynamics(20 if quick else 60, backend)


if __name__ == '__main__':
    main(records, __doc__)
