"""The fixed-lag window: native code equals the reference, and both are least squares."""

from dataclasses import replace

import pytest
import torch

from pypose_core import native
from pypose_core.inertial import ImuNoise
from pypose_core.lie import so3
from pypose_core.online import window as module
from pypose_core.online.propagation import integrate, predict
from pypose_core.online.window import DOF, KERNELS, SolveStatus, WindowProblem, marginalize, retract, solve

GRAVITY = 9.81
NOISE = ImuNoise(
    gyroscope_noise_density=1e-3,
    accelerometer_noise_density=1e-2,
    gyroscope_random_walk=1e-4,
    accelerometer_random_walk=1e-3,
)


def random_problem(seed: int = 0, keyframes: int = 5, kernel: str = 'none') -> WindowProblem:
    """A window around a random motion, its states off by a few sigma."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    noise = torch.cat([NOISE.vector(), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)])
    state = torch.cat([normal(3), so3.exp(normal(3)), normal(3), 0.01 * normal(3), 0.1 * normal(3)])
    states, rows = [state], []
    for _ in range(keyframes - 1):
        pieces = torch.cat(
            [torch.full((20, 1), 0.01, dtype=torch.float64), normal(20, 3), 3 * normal(20, 3)], 1
        )
        rows.append(torch.from_numpy(integrate(pieces, states[-1][10:].numpy(), noise)))
        states.append(torch.from_numpy(predict(states[-1].numpy(), rows[-1].numpy(), GRAVITY)))
    truth = torch.stack(states)
    prior_information = 1e4 * torch.eye(2 * DOF, dtype=torch.float64)
    pose_index = torch.tensor([0, 1, 2, 4, 4])[:keyframes]
    relative_index = torch.tensor([[0, 2], [1, 3]])
    measured = retract(truth, 0.02 * normal(keyframes, DOF))
    earlier, later = truth[relative_index[:, 0]], truth[relative_index[:, 1]]
    to_body = so3.inv(earlier[:, 3:7])
    relative = torch.cat(
        [
            so3.act(to_body, later[:, :3] - earlier[:, :3]) + 0.02 * normal(2, 3),
            so3.mul(so3.mul(to_body, later[:, 3:7]), so3.exp(0.02 * normal(2, 3))),
        ],
        1,
    )
    information = torch.diag(torch.tensor([100.0] * 3 + [50.0] * 3, dtype=torch.float64))
    return WindowProblem(
        states=retract(truth, 0.05 * normal(keyframes, DOF)),
        imu=torch.stack(rows),
        pose_index=pose_index,
        pose=measured[pose_index][:, :7],
        pose_information=information.expand(len(pose_index), 6, 6),
        relative_index=relative_index,
        relative=relative,
        relative_information=information.expand(2, 6, 6),
        velocity_index=torch.tensor([0, 2]),
        velocity_rate=normal(2, 3),
        velocity=normal(2, 3),
        velocity_information=torch.diag(torch.tensor([0.0, 5.0, 10.0], dtype=torch.float64)).expand(2, 3, 3),
        T_imu_base=torch.cat([normal(3), so3.exp(normal(3))]),
        prior_states=retract(truth[:2], 0.01 * normal(2, DOF)),
        prior_information=prior_information,
        prior_gradient=normal(2 * DOF),
        gravity=GRAVITY,
        kernel=KERNELS[kernel],
        kernel_width=2.0,
        max_iterations=20,
        tolerance=1e-12,
    )


@pytest.fixture
def reference(monkeypatch):
    """Calls a function with the native kernels out of the way."""

    def call(function, *args):
        with monkeypatch.context() as patch:
            patch.setattr(native, 'available', False)
            return function(*args)

    return call


@pytest.mark.parametrize('kernel', list(KERNELS))
@pytest.mark.parametrize('seed', range(3))
def test_native_solve_equals_reference(seed, kernel, reference):
    problem = random_problem(seed, kernel=kernel)
    ours, expected = solve(problem), reference(solve, problem)
    assert ours.status == expected.status == SolveStatus.CONVERGED
    assert ours.iterations == expected.iterations
    torch.testing.assert_close(ours.states, expected.states, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours.covariance, expected.covariance, rtol=1e-6, atol=1e-12)
    assert ours.cost_initial == pytest.approx(expected.cost_initial, rel=1e-9)
    assert ours.cost_final == pytest.approx(expected.cost_final, rel=1e-9)


@pytest.mark.parametrize('kernel', list(KERNELS))
def test_native_marginalization_equals_reference(kernel, reference):
    problem = random_problem(1, kernel=kernel)
    for ours, expected in zip(marginalize(problem), reference(marginalize, problem)):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_gradient_is_that_of_the_cost():
    problem = random_problem(2, kernel='cauchy')
    delta = torch.zeros(len(problem.states) * DOF, dtype=torch.float64, requires_grad=True)
    module.cost(problem, retract(problem.states, delta.reshape(-1, DOF))).backward()
    _, gradient = module.normal_equations(problem, problem.states)
    # The prior is linear in its own tangent space: there the two differ by the curvature of SO(3).
    tail = 2 * DOF
    torch.testing.assert_close(gradient[tail:], delta.grad[tail:], rtol=1e-7, atol=1e-6)


def test_the_solution_is_a_minimum():
    problem = random_problem(3)
    solution = solve(problem)
    rng = torch.Generator().manual_seed(0)
    best = module.cost(problem, solution.states)
    for _ in range(20):
        step = 1e-3 * torch.randn(len(problem.states), DOF, generator=rng, dtype=torch.float64)
        assert module.cost(problem, retract(solution.states, step)) > best


def test_marginalizing_keeps_the_newest_estimate():
    problem = random_problem(4)
    full = solve(problem)
    problem = replace(problem, states=full.states)
    states, information, gradient = marginalize(problem)
    on_pose, on_relative = problem.pose_index > 0, problem.relative_index[:, 0] > 0
    on_velocity = problem.velocity_index > 0
    smaller = replace(
        problem,
        states=problem.states[1:],
        imu=problem.imu[1:],
        pose_index=problem.pose_index[on_pose] - 1,
        pose=problem.pose[on_pose],
        pose_information=problem.pose_information[on_pose],
        relative_index=problem.relative_index[on_relative] - 1,
        relative=problem.relative[on_relative],
        relative_information=problem.relative_information[on_relative],
        velocity_index=problem.velocity_index[on_velocity] - 1,
        velocity_rate=problem.velocity_rate[on_velocity],
        velocity=problem.velocity[on_velocity],
        velocity_information=problem.velocity_information[on_velocity],
        prior_states=states,
        prior_information=information,
        prior_gradient=gradient,
    )
    kept = solve(smaller)
    torch.testing.assert_close(kept.states, full.states[1:], rtol=0, atol=1e-6)
    torch.testing.assert_close(kept.covariance, full.covariance, rtol=1e-5, atol=1e-12)


def test_the_covariance_is_the_inverse_of_the_information():
    problem = random_problem(5)
    solution = solve(problem)
    information, _ = module.normal_equations(problem, solution.states)
    torch.testing.assert_close(
        solution.covariance, torch.linalg.inv(information)[-DOF:, -DOF:], rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize('use_native', [True, False])
def test_an_unconstrained_window_is_singular_not_a_crash(use_native, reference):
    problem = random_problem(0)
    nothing = replace(
        problem,
        pose_index=problem.pose_index[:0],
        pose=problem.pose[:0],
        pose_information=problem.pose_information[:0],
        velocity_index=problem.velocity_index[:0],
        velocity_rate=problem.velocity_rate[:0],
        velocity=problem.velocity[:0],
        velocity_information=problem.velocity_information[:0],
        prior_information=torch.zeros_like(problem.prior_information),
        prior_gradient=torch.zeros_like(problem.prior_gradient),
    )
    status = (solve(nothing) if use_native else reference(solve, nothing)).status
    assert status == SolveStatus.SINGULAR and not status.success


@pytest.mark.parametrize('use_native', [True, False])
def test_nan_is_reported_not_propagated(use_native, reference):
    problem = random_problem(0)
    states = problem.states.clone()
    states[2, 0] = torch.nan
    solution = (
        solve(replace(problem, states=states))
        if use_native
        else reference(solve, replace(problem, states=states))
    )
    assert solution.status == SolveStatus.NOT_FINITE


def test_a_robust_kernel_bounds_the_pull_of_an_outlier():
    problem = random_problem(6)
    poses = problem.pose.clone()
    poses[2, :3] += 5.0
    clean = solve(problem).states[2, :3]
    pulled = {
        kernel: float(
            (solve(replace(problem, pose=poses, kernel=KERNELS[kernel])).states[2, :3] - clean).norm()
        )
        for kernel in KERNELS
    }
    assert pulled['cauchy'] < pulled['huber'] < 0.5 * pulled['none']


def test_arguments_of_the_wrong_shape_are_refused_by_name():
    problem = random_problem(0)
    with pytest.raises(RuntimeError, match='pose must have shape'):
        solve(replace(problem, pose=problem.pose[:, :6].contiguous()))
    with pytest.raises(RuntimeError, match='not an ordered pair'):
        solve(replace(problem, relative_index=problem.relative_index.flip(-1).contiguous()))
