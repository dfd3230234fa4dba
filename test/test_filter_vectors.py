"""EKF, UKF, PF and the smoother: the Kalman filter on linear systems, consistency on others."""
import copy
import warnings

import numpy as np
import pytest
import torch
from filter_consistency import assert_consistent

import pypose_core as pp
from pypose_core import native
from pypose_core.filter import EKF, PF, UKF, kalman_step, smooth
from pypose_core.filter.kalman import correct

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')


def spd(*shape):
    M = torch.randn(*shape, shape[-1], dtype=torch.float64)
    return M @ M.mT + 0.5 * torch.eye(shape[-1], dtype=torch.float64)


def linear(batch=(), n=4, m=2, k=3):
    torch.manual_seed(0)
    f64 = {'dtype': torch.float64}
    lti = pp.module.LTI(torch.eye(n, **f64) + 0.2 * torch.randn(*batch, n, n, **f64), torch.randn(*batch, n, m, **f64),
                        torch.randn(*batch, k, n, **f64), torch.randn(*batch, k, m, **f64),
                        torch.randn(*batch, n, **f64), torch.randn(*batch, k, **f64))
    data = (torch.randn(*batch, n, **f64), torch.randn(*batch, k, **f64), torch.randn(*batch, m, **f64), spd(*batch, n))
    return lti, data, spd(*batch, n), spd(*batch, k)


class Wrapped(pp.module.NLS):
    """A linear system as a nonlinear one."""

    def __init__(self, lti):
        super().__init__()
        self.lti = lti

    def state_transition(self, state, input, t=None):
        return self.lti.state_transition(state, input)

    def observation(self, state, input, t=None):
        return self.lti.observation(state, input)


def kalman(lti, x, y, u, P, Q, R):
    """The textbook filter in information form, in numpy."""
    A, B, C, D, c1, c2 = (z.numpy() for z in (lti.A, lti.B, lti.C, lti.D, lti.c1, lti.c2))
    prior, P = A @ x.numpy() + B @ u.numpy() + c1, A @ P.numpy() @ A.T + Q.numpy()
    information = np.linalg.inv(P) + C.T @ np.linalg.inv(R.numpy()) @ C
    P_new = np.linalg.inv(information)
    e = y.numpy() - C @ prior - D @ u.numpy() - c2
    return torch.tensor(prior + P_new @ C.T @ np.linalg.inv(R.numpy()) @ e), torch.tensor(P_new)


@pytest.mark.parametrize('nonlinear', [False, True])
@pytest.mark.parametrize('kind', [EKF, UKF])
def test_on_linear_systems_filters_are_the_kalman_filter(kind, nonlinear):
    lti, (x, y, u, P), Q, R = linear()
    expected = kalman(lti, x, y, u, P, Q, R)
    found = kind(Wrapped(lti) if nonlinear else lti, Q, R)(x, y, u, P)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize('kind', [EKF, UKF])
def test_a_batch_is_its_filters(kind):
    lti, data, Q, R = linear((5,))
    if kind is UKF:     # its points need a dimension of their own in the model's matrices
        lti = pp.module.LTI(*(z[0] for z in (lti.A, lti.B, lti.C, lti.D, lti.c1, lti.c2)))
    found = kind(Wrapped(lti))(*data, Q, R)
    for i in range(5):
        one = lti if kind is UKF else pp.module.LTI(*(z[i] for z in (lti.A, lti.B, lti.C, lti.D, lti.c1, lti.c2)))
        for a, b in zip(found, kalman(one, *(z[i] for z in data), Q[i], R[i])):
            torch.testing.assert_close(a[i], b, atol=1e-9, rtol=1e-9)


def test_the_particle_filter_approaches_the_kalman_filter():
    torch.manual_seed(1)
    lti = pp.module.LTI(torch.tensor([[1.0, 0.1], [0.0, 1.0]]).double(), torch.tensor([[0.0], [0.1]]).double(),
                        torch.tensor([[1.0, 0.0]]).double(), torch.zeros(1, 1).double())
    x = torch.tensor([[0.3, -0.2], [1.0, 0.5]]).double()
    y, u = torch.tensor([[0.5], [0.8]]).double(), torch.tensor([[1.0], [0.0]]).double()
    P, Q, R = (s * torch.eye(n).double().expand(2, n, n) for s, n in ((0.3, 2), (0.05, 2), (0.2, 1)))
    mean, covariance = PF(lti, particles=200_000)(x, y, u, P, Q, R)
    for i in range(2):
        zero = torch.zeros(2).double()
        full = pp.module.LTI(lti.A, lti.B, lti.C, lti.D, zero, zero[:1])
        a, b = kalman(full, x[i], y[i], u[i], P[i], Q[i], R[i])
        torch.testing.assert_close(mean[i], a, atol=6e-3, rtol=0)
        torch.testing.assert_close(covariance[i], b, atol=6e-3, rtol=0)


def test_resampling_draws_in_proportion_to_the_weights():
    torch.manual_seed(0)
    filter_ = PF(pp.module.NLS(), particles=10_000)
    q = torch.softmax(torch.randn(10_000, 2).double(), 0)
    x = torch.arange(10_000.).double()[:, None, None].expand(-1, 2, 1)
    drawn = filter_.resample_particles(q, x)[..., 0].long()
    counts = torch.stack([torch.bincount(drawn[:, i], minlength=10_000) for i in range(2)], -1)
    assert (counts - 10_000 * q).abs().max() < 1 + 1e-6


class Pendulum(pp.module.NLS):
    def state_transition(self, state, input, t=None):
        angle, rate = state.unbind(-1)
        return torch.stack([angle + 0.05 * rate, rate + 0.05 * (input[..., 0] - 9.81 * angle.sin() - 0.1 * rate)], -1)

    def observation(self, state, input, t=None):
        return torch.stack([state[..., 0].sin(), state[..., 0].cos()], -1)


@pytest.mark.parametrize('kind', [EKF, UKF, PF])
def test_errors_are_as_large_as_the_covariance_says(kind):
    torch.manual_seed(0)
    B, model = 60 if kind is PF else 2000, Pendulum()
    Q, R = torch.diag(torch.tensor([1e-5, 4e-3])).double(), (0.05 ** 2 * torch.eye(2)).double()
    P = torch.diag(torch.tensor([0.01, 0.04])).double().expand(B, 2, 2)
    truth, u = torch.tensor([0.8, 0.0]).double().expand(B, 2), torch.zeros(B, 1).double()
    x = truth + torch.randn(B, 2).double() @ torch.diag(torch.tensor([0.1, 0.2])).double()
    filter_, nees = kind(model, Q, R, **({'particles': 1000} if kind is PF else {})), []
    for _ in range(40):
        truth = model.state_transition(truth, u) + torch.randn(B, 2).double() @ Q.sqrt()
        y = model.observation(truth, u) + 0.05 * torch.randn(B, 2).double()
        x, P = filter_(x, y, u, P)
        e = (x - truth).unsqueeze(-1)
        nees.append((e.mT @ torch.linalg.solve(P, e)).flatten())
    assert_consistent(torch.stack(nees), 2)


class Linear(pp.module.NLS):
    """x⁺ = a x + u, y = x², by a factor that can change."""

    def __init__(self, a=2.0):
        super().__init__()
        self.a = a

    def state_transition(self, state, input, t=None):
        return self.a * state + input

    def observation(self, state, input, t=None):
        return state.square() + state + 0.1 * t


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('batch', [(), (1,), (7,), (2, 3)], ids=str)
def test_a_traced_step_is_that_of_torch(batch, dtype):
    torch.manual_seed(0)
    for model, k in ((Pendulum(), 2), (Linear(), 2)):
        x, y, u = torch.randn(*batch, 2), torch.randn(*batch, k), torch.randn(*batch, 1)
        data = [z.to(dtype) for z in (x, y, u, spd(*batch, 2), spd(2), spd(k))]
        filter_ = EKF(model)
        leaves = [z.clone().requires_grad_() for z in data]     # derivatives go by torch
        for found, expected in zip(filter_(*data, t=torch.tensor(3)), filter_(*leaves, t=torch.tensor(3))):
            assert found.dtype == dtype
            torch.testing.assert_close(found, expected.detach(), rtol=1e-4 if dtype == torch.float32 else 1e-9,
                                       atol=1e-5 if dtype == torch.float32 else 1e-10)


def test_a_system_that_changes_is_noticed_even_where_its_values_stay():
    filter_ = EKF(Linear())
    zero, one = torch.zeros(1), torch.ones(1, 1)
    for a in (2.0, 3.0, 4.0, 5.0, 6.0):     # later ones are no longer traced
        filter_.model.a = a
        _, P = filter_(zero, zero, zero, one, 0.5 * one, one, t=torch.tensor(0))
        prior = a * a + 0.5
        torch.testing.assert_close(P, prior / (prior + 1) * one)


def test_what_cannot_be_traced_is_left_to_torch():
    class Branching(Linear):
        def state_transition(self, state, input, t=None):
            return state * 2 if state.sum() > 0 else state * 3
    zero, one = torch.zeros(1), torch.ones(1, 1)
    for x, factor in ((-1.0, 3.0), (1.0, 2.0)):
        P = EKF(Branching())(zero + x, zero, zero, one, one, 1e12 * one, t=torch.tensor(0))[1]
        torch.testing.assert_close(P, (factor ** 2 + 1) * one)


def test_filters_can_be_copied_and_saved_after_use(tmp_path):
    filter_ = EKF(Pendulum(), torch.eye(2), torch.eye(2))
    data = torch.ones(2), torch.ones(2), torch.ones(1), torch.eye(2)
    expected = filter_(*data)
    torch.save(filter_, tmp_path / 'filter.pt')
    for other in (copy.deepcopy(filter_), torch.load(tmp_path / 'filter.pt', weights_only=False)):
        for a, b in zip(other(*data), expected):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_pypose_programs_run_and_end_nearer():
    """The example in PyPose's documentation, with the measurement of the state that the step leads to."""
    torch.manual_seed(0)

    class Cosine(pp.module.NLS):
        def state_transition(self, state, input, t=None):
            return state.cos() + input

        def observation(self, state, input, t):
            return state.sin() + input
    for kind in (pp.module.EKF, pp.module.UKF, pp.module.PF):
        model, T, N = Cosine(), 8, 2
        filter_ = kind(model)
        inputs = torch.randn(T, N)
        state, estimate, P = torch.zeros(N), 10 * torch.randn(N), 100 * torch.eye(N)
        for i in range(T):
            state, _ = model(state + 0.1 * torch.randn(N), inputs[i])
            seen = model.observation(state, inputs[i], None) + 0.1 * torch.randn(N)
            estimate, P = filter_(estimate, seen, inputs[i], P, 0.01 * torch.eye(N), 0.01 * torch.eye(N))
        assert (estimate - state).norm() < 2.0 and torch.isfinite(P).all(), kind


def test_the_estimate_is_differentiable():
    lti, (x, y, u, P), Q, R = linear()
    leaves = [z.clone().requires_grad_() for z in (x, y, P, Q, R)]
    model = Wrapped(lti)
    for kind in (EKF, UKF):
        def function(x, y, *matrices, kind=kind):
            P, Q, R = ((M + M.mT) / 2 for M in matrices)
            return kind(model)(x, y, u, P, Q, R)
        assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.skipif(not native.available, reason=native.status)
@pytest.mark.parametrize('batch', [(), (1,), (7,), (2, 3)], ids=str)
def test_the_native_step_is_that_of_torch(batch):
    lti, (x, y, u, P), Q, R = linear(batch)
    prior, e = lti.state_transition(x, u), y - lti.observation(x, u)
    expected = correct(prior, lti.A @ P @ lti.A.mT + Q, lti.C, R, e)[:2]
    for a, b in zip(kalman_step(prior, lti.A, P, Q, lti.C, R, e), expected):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    if batch:
        shared = kalman_step(prior, lti.A, P, Q.view(-1, 4, 4)[0], lti.C, R.view(-1, 3, 3)[0], e)
        expected = correct(prior, lti.A @ P @ lti.A.mT + Q.view(-1, 4, 4)[0], lti.C, R.view(-1, 3, 3)[0], e)[:2]
        for a, b in zip(shared, expected):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    with pytest.raises(ValueError, match='positive definite'):
        kalman_step(prior, lti.A, P, Q, lti.C, R - 1e6 * torch.eye(3).double(), e)


def test_smoothing_is_the_least_squares_estimate_of_the_whole_sequence():
    lti, (x, _, _, P), Q, R = linear()
    T, n, k = 6, 4, 3
    y, u = torch.randn(T, k).double(), torch.randn(T, 2).double()
    smoothed, filtered = smooth(EKF(lti, Q, R), x, y, u, P)
    J, r = torch.zeros(n + T * (n + k), (T + 1) * n).double(), torch.zeros(n + T * (n + k)).double()

    def whiten(M, z):
        return torch.linalg.solve(torch.linalg.cholesky(M), z)
    eye = torch.eye(n).double()
    J[:n, :n], r[:n] = whiten(P, eye), whiten(P, x)
    for i in range(T):
        row = n + i * (n + k)
        J[row:row + n, i * n:(i + 1) * n] = -whiten(Q, lti.A)
        J[row:row + n, (i + 1) * n:(i + 2) * n] = whiten(Q, eye)
        r[row:row + n] = whiten(Q, lti.B @ u[i] + lti.c1)
        J[row + n:row + n + k, (i + 1) * n:(i + 2) * n] = whiten(R, lti.C)
        r[row + n:row + n + k] = whiten(R, y[i] - lti.D @ u[i] - lti.c2)
    covariance = torch.linalg.inv(J.mT @ J)
    torch.testing.assert_close(smoothed.x.flatten(), covariance @ J.mT @ r, atol=1e-9, rtol=1e-9)
    for i in range(T + 1):
        block = covariance[i * n:(i + 1) * n, i * n:(i + 1) * n]
        torch.testing.assert_close(smoothed.P[i], block, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(filtered.x[-1], smoothed.x[-1])


def test_missing_covariances_and_bad_spreads_are_named():
    lti, (x, y, u, P), Q, R = linear()
    with pytest.raises(ValueError, match='covariance Q'):
        EKF(lti)(x, y, u, P)
    with pytest.raises(ValueError, match='above -4'):
        UKF(lti, Q, R)(x, y, u, P, k=-4)
    filter_ = EKF(lti)
    filter_.set_uncertainty(Q=Q, R=R)
    assert filter_.Q is Q and 'R' not in filter_.state_dict() and '_R' in filter_.state_dict()
