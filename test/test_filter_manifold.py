"""Filters on Lie groups: consistent, invariant, and right about their covariance."""
import pytest
import torch
from filter_consistency import assert_consistent

import pypose_core as pp
from pypose_core.filter import ErrorStateEKF, InvariantImuFilter
from pypose_core.inertial import ImuNoise

f64 = {'dtype': torch.float64}
NOISE = ImuNoise(gyroscope_noise_density=2e-3, accelerometer_noise_density=2e-2, gyroscope_random_walk=1e-4,
                 accelerometer_random_walk=1e-3)


@pytest.mark.parametrize('group', ['SO3', 'SE3', 'SE23', 'SE2'])
def test_the_covariance_of_a_pose_is_that_of_its_samples(group):
    torch.manual_seed(0)
    B = 4000
    T = getattr(pp, f'randn_{group}')(**f64)
    d = T.ltype.manifold[0]
    step = getattr(pp, f'randn_{group}')(sigma=0.5, **f64)
    P = 1e-4 * torch.eye(d, **f64)
    algebra = type(T).algebra

    def noise(count, s):
        return algebra(s * torch.randn(count, d, **f64)).Exp()
    samples = (T @ noise(B, 1e-2)) @ step @ noise(B, 2e-2)
    filter_ = ErrorStateEKF(T, P)
    filter_.predict(lambda X: X @ step, 4e-4 * torch.eye(d, **f64))
    e = filter_.error(samples)
    found = e.mT @ e / B
    assert (found - filter_.P).abs().max() < 0.1 * filter_.P.diagonal().max()


def test_the_error_state_filter_is_consistent_with_pose_and_landmark_measurements():
    torch.manual_seed(0)
    B = 400
    landmarks = torch.randn(6, 3, **f64) * 5
    Q, R = (s * torch.eye(6, **f64) for s in (1e-4, 1e-2))
    start = pp.randn_SE3(**f64).lview(1).expand(B, 7)
    P = 5e-4 * torch.eye(6, **f64).expand(B, 6, 6)
    truth = start @ pp.se3(5e-4 ** 0.5 * torch.randn(B, 6, **f64)).Exp()
    filter_, nees, nis = ErrorStateEKF(start, P), [], []
    motion = pp.se3(torch.tensor([0.3, 0.0, 0.1, 0.0, 0.1, 0.2], **f64)).Exp()
    R_points = 0.05 ** 2 * torch.eye(18, **f64)

    def see(X):
        return X.Inv().unsqueeze(-2).Act(landmarks).flatten(-2)
    for k in range(20):
        truth = truth @ motion @ pp.se3(1e-2 * torch.randn(B, 6, **f64)).Exp()
        filter_.predict(lambda X: X @ motion, Q)
        if k % 2:
            y = truth @ pp.se3(1e-1 * torch.randn(B, 6, **f64)).Exp()
            nis.append(filter_.update(y, lambda X: X, R, lambda Y, h: (h.Inv() @ Y).Log().tensor()))
        else:
            y = see(truth) + 0.05 * torch.randn(B, 18, **f64)
            nis.append(filter_.update(y, see, R_points))
        e = filter_.error(truth).unsqueeze(-1)
        nees.append((e.mT @ torch.linalg.solve(filter_.P, e)).flatten())
    assert_consistent(torch.stack(nees), 6)
    assert_consistent(torch.stack(nis[1::2]), 6)
    assert_consistent(torch.stack(nis[0::2]), 18)


def flight(B, seconds=4.0, dt=0.01):
    """Truth at IMU rate: states, rates and specific forces of a curved flight with biases."""
    torch.manual_seed(0)
    steps = int(seconds / dt)
    state = pp.SE23(torch.cat([torch.randn(3, **f64), pp.randn_SO3(**f64).tensor(), torch.randn(3, **f64)]))
    bias = torch.cat([0.02 * torch.randn(B, 3, **f64), 0.1 * torch.randn(B, 3, **f64)], -1)
    exact = InvariantImuFilter(state, torch.eye(15, **f64), NOISE)
    t = torch.arange(steps, **f64)[:, None] * dt
    w = torch.cat([0.5 * (1.3 * t).sin(), 0.4 * (0.9 * t).cos(), 0.6 * torch.ones_like(t)], -1)
    a = torch.cat([2 * (0.7 * t).cos(), 1.5 * (1.1 * t).sin(), 9.5 + (0.5 * t).sin()], -1)
    states = [state]
    for k in range(steps):
        exact.predict(w[k], a[k], dt)
        states.append(exact.state)
    return states, w, a, bias, dt


def test_the_mean_is_the_exact_motion_under_held_measurements():
    states, w, a, _, dt = flight(1, 0.05)
    fine = InvariantImuFilter(states[0], torch.eye(15, **f64), NOISE)
    for k in range(5):
        for _ in range(20):     # of the exact motion any number of steps is the same
            fine.predict(w[k], a[k], dt / 20)
    torch.testing.assert_close(fine.state.tensor(), states[5].tensor(), atol=1e-11, rtol=0)


def test_the_error_moves_as_the_covariance_says():
    """Φ, taken from the motion of a covariance without noise, against differences of the motion itself."""
    states, w, a, _, _ = flight(1, 0.02)
    silent, dt = ImuNoise(0.0, 0.0, 0.0, 0.0), 0.05
    nominal = InvariantImuFilter(states[0], torch.zeros(15, 15, **f64), silent)
    nominal.predict(w[0], a[0], dt)
    columns = []
    for i in range(15):
        d = torch.zeros(15, **f64)
        d[i] = 1e-6
        moved = InvariantImuFilter(states[0] @ pp.se23(d[:9]).Exp(), torch.eye(15, **f64), silent, bias=d[9:])
        moved.predict(w[0], a[0], dt)
        columns.append(nominal.error(moved.state, moved.bias) / 1e-6)
    Phi = torch.stack(columns, -1)
    P = torch.diag(torch.linspace(1, 2, 15, **f64))
    filter_ = InvariantImuFilter(states[0], P, silent)
    filter_.predict(w[0], a[0], dt)
    torch.testing.assert_close(filter_.P, Phi @ P @ Phi.mT, atol=3e-4, rtol=0)    # dt³: biases within one step


def test_the_covariance_does_not_depend_on_the_estimate():
    states, w, a, _, dt = flight(1, 0.1)
    P = 0.1 * torch.eye(15, **f64)
    runs = [InvariantImuFilter(state, P, NOISE) for state in (states[0], pp.randn_SE23(sigma=2.0, **f64))]
    for k in range(10):
        for run in runs:
            run.predict(w[k], a[k], dt)
            if k == 9:
                run.update_position(torch.randn(3, **f64), 0.1 * torch.eye(3, **f64))
    assert (runs[0].P - runs[1].P).abs().max() < 1e-12


@pytest.mark.parametrize('measure', ['position', 'pose'])
def test_the_invariant_filter_is_consistent(measure):
    B = 80
    states, w, a, bias, dt = flight(B)
    sigma = torch.cat([torch.full((3,), 0.3), torch.full((3,), 0.2), torch.full((3,), 0.3), torch.full((3,), 0.02),
                       torch.full((3,), 0.1)]).double()
    error = sigma * torch.randn(B, 15, **f64)
    error[:, 9:] = bias
    start = states[0].lview(1).expand(B, 10) @ pp.se23(-error[:, :9]).Exp()
    filter_ = InvariantImuFilter(start, torch.diag(sigma ** 2).expand(B, 15, 15), NOISE, bias=torch.zeros(B, 6, **f64))
    gyro_sigma, accel_sigma = (s / dt ** 0.5 for s in (2e-3, 2e-2))
    nees = []
    for k in range(len(w)):
        walk = torch.cat([1e-4 * torch.randn(B, 3, **f64), 1e-3 * torch.randn(B, 3, **f64)], -1) * dt ** 0.5
        filter_.predict(w[k] + bias[:, :3] + gyro_sigma * torch.randn(B, 3, **f64),
                        a[k] + bias[:, 3:] + accel_sigma * torch.randn(B, 3, **f64), dt)
        bias = bias + walk
        truth = states[k + 1]
        if k % 10 == 9:
            if measure == 'position':
                y = truth.tensor()[:3] + 0.05 * torch.randn(B, 3, **f64)
                filter_.update_position(y, 0.05 ** 2 * torch.eye(3, **f64))
            else:
                pose = pp.SE3(truth.tensor()[:7]) @ pp.se3(0.05 * torch.randn(B, 6, **f64)).Exp()
                filter_.update_pose(pose.tensor(), 0.05 ** 2 * torch.eye(6, **f64))
                filter_.update_velocity(truth.tensor()[7:] + 0.1 * torch.randn(B, 3, **f64),
                                        0.1 ** 2 * torch.eye(3, **f64))
            if k >= 100:
                e = filter_.error(truth.lview(1).expand(B, 10), bias).unsqueeze(-1)
                nees.append((e.mT @ torch.linalg.solve(filter_.P, e)).flatten())
    assert_consistent(torch.stack(nees), 15)
    assert (filter_.bias - bias).abs().mean() < 0.6 * sigma[9:].mean()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='6, 6'):
        ErrorStateEKF(pp.identity_SE3(), torch.eye(7))
    with pytest.raises(ValueError, match='15, 15'):
        InvariantImuFilter(pp.identity_SE23(), torch.eye(9), NOISE)
