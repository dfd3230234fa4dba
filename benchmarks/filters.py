"""One step of the Kalman filters, beside PyPose.

PyPose takes the innovation at the state before the step, and sigma points from the wrong factor; on the linear model
here only its time counts, and ours is compared with the Kalman filter.
"""
import warnings
from collections.abc import Iterator

import torch
from harness import Record, compare, main

import pypose_core as pp
from pypose_core.filter.kalman import correct

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import pypose


def model(library):
    class Cosine(library.module.NLS):
        def state_transition(self, state, input, t=None):
            return state.cos() + input

        def observation(self, state, input, t=None):
            return state.sin() + input
    return Cosine()


def step(name: str, n: int, rounds: int) -> Record:
    torch.manual_seed(0)
    x, y, u = torch.randn(n), torch.randn(n), torch.randn(n)
    P, Q, R = 0.1 * torch.eye(n), 0.01 * torch.eye(n), 0.01 * torch.eye(n)
    ours, theirs = (getattr(library.module, name)(model(library)) for library in (pp, pypose))

    def right(found, _) -> bool:
        A, prior = torch.diag(-x.sin()), x.cos() + u
        mean, covariance, _ = correct(prior, A @ P @ A.mT + Q, torch.diag(prior.cos()), R, y - prior.sin() - u)
        tolerance = 1e-5 if name == 'EKF' else 0.2       # other approximations of the same
        return bool((found[0] - mean).abs().max() < 10 * tolerance and (found[1] - covariance).abs().max() < tolerance)
    return compare(f'{name} step, {n} states', peer='pypose 0.9.5', ours=lambda: ours(x, y, u, P, Q, R),
                   theirs=lambda: theirs(x, y, u, P, Q, R), agree=right, target=10 if name == 'EKF' else None,
                   rounds=rounds, least=0.2,
                   note='ours is the EKF by hand' if name == 'EKF' else 'ours is near the EKF by hand')


def batch(n: int, size: int, rounds: int) -> Record:
    torch.manual_seed(0)
    x, y, u = (torch.randn(size, n) for _ in range(3))
    P, Q, R = 0.1 * torch.eye(n).expand(size, n, n), 0.01 * torch.eye(n), 0.01 * torch.eye(n)
    ours = pp.module.EKF(model(pp))

    def loop():
        return [torch.stack(z) for z in zip(*(ours(x[i], y[i], u[i], P[i], Q, R) for i in range(size)))]
    return compare(f'{size} EKF steps at once, {n} states', peer='our EKF, one after the other',
                   ours=lambda: ours(x, y, u, P, Q, R), theirs=loop, rounds=rounds,
                   agree=lambda a, b: all(bool((s - t).abs().max() < 1e-5) for s, t in zip(a, b)), note='agree to 1e-5')


def records(quick: bool) -> Iterator[Record]:
    for n in (2,) if quick else (2, 6, 15):
        yield step('EKF', n, 5)
    for name in ('UKF', 'PF'):
        yield step(name, 2, 3)
    yield batch(6, 16 if quick else 256, 3)


if __name__ == '__main__':
    main(records, __doc__)
