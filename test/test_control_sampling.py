"""Iterative LQR, DDP and MPPI on the same optimal control problems."""
import pytest
import torch
from control_problems import START, TRACKING, double_integrator, f64, spacecraft, tracking

from pypose_core.control.ddp import solve_ddp
from pypose_core.control.mppi import MPPI
from pypose_core.control.ocp_result import OcpStatus
from pypose_core.control.problem import Box, LeastSquares


def free(**given):
    """The unicycle without anything but its dynamics and its cost."""
    cost = LeastSquares(lambda x, u, p: torch.cat([p.weight * (x - p.goal), 0.3 * u], -1))
    return tracking(constraints=[], rate_bounds=None, control_bounds=None, stage_cost=cost, **given)


@pytest.mark.parametrize('hessian', ['gauss_newton', 'exact'])
@pytest.mark.parametrize('backend', ['native', 'torch'])
def test_iterative_lqr_reaches_the_optimum_of_sqp(hessian, backend):
    expected = free().solve(START, parameters=TRACKING, start='roll')
    found = solve_ddp(free(hessian=hessian, backend=backend), START, parameters=TRACKING, tolerance=1e-12)
    assert found.status is OcpStatus.CONVERGED and expected.converged
    assert found.costs[-1] == pytest.approx(expected.stats.cost, rel=1e-9)
    assert all(b <= a for a, b in zip(found.costs, found.costs[1:]))
    torch.testing.assert_close(found.controls, expected.controls, atol=1e-4, rtol=0)


def test_with_second_derivatives_the_error_squares():
    optimum = solve_ddp(free(hessian='exact'), START, parameters=TRACKING, tolerance=1e-15)
    near = optimum.controls + 0.02 * torch.arange(24).double().sin().reshape(12, 2)
    left = []
    for hessian in ('gauss_newton', 'exact'):
        found = solve_ddp(free(hessian=hessian), START, parameters=TRACKING, guess=near, max_iterations=3,
                          tolerance=0.0)
        left.append((found.controls - optimum.controls).abs().max().item())
    assert left[1] < 1e-7 < left[0]


def test_a_linear_problem_takes_one_iteration_and_its_gains_are_riccatis():
    ocp = double_integrator()
    found = solve_ddp(ocp, f64([1.0, -0.5]))
    assert found.iterations == 1
    other = ocp.solve(f64([0.8, 0.3]), start='roll')
    x = f64([0.8, 0.3])
    for k in range(20):
        u = found.controls[k] + found.gains[k] @ (x - found.states[k])
        torch.testing.assert_close(u, other.controls[k], atol=1e-9, rtol=0)
        x = torch.stack([x[0] + 0.1 * x[1] + 0.005 * u[0], x[1] + 0.1 * u[0]])


def test_iterative_lqr_on_rotations():
    ocp = spacecraft(control_bounds=None)
    start = f64([0.5, -0.5, 0.1, 0.7])
    start = start / start.norm()
    parameters = {'weight': TRACKING['weight']}
    found = solve_ddp(ocp, start, parameters=parameters, tolerance=1e-12)
    assert found.costs[-1] == pytest.approx(ocp.solve(start, parameters=parameters, start='roll').stats.cost, rel=1e-8)


def test_other_constraints_are_refused():
    with pytest.raises(ValueError, match='control rate, disc'):
        solve_ddp(tracking(), START, u_prev=f64([0.0, 0.0]), parameters=TRACKING)


def test_sampling_comes_near_the_optimum_and_keeps_the_bounds():
    ocp = double_integrator(control_bounds=Box(-1.5, 1.5))
    optimum = ocp.solve(f64([0.5, 0.0]), start='roll').stats.cost
    mppi = MPPI(ocp, sigma=0.25, samples=1000, temperature=0.05, iterations=40)
    result = mppi.solve(f64([0.5, 0.0]))
    assert optimum <= result.cost <= 1.05 * optimum and (result.controls.abs() <= 1.5).all()
    assert 2 <= result.effective <= 1000
    again = MPPI(ocp, sigma=0.25, samples=1000, temperature=0.05, iterations=40).solve(f64([0.5, 0.0]))
    assert torch.equal(result.controls, again.controls)


def test_sampling_pays_for_violations_and_goes_around():
    ocp = tracking(horizon=25)
    mppi = MPPI(ocp, sigma=f64([0.1, 0.3]), samples=1000, temperature=0.5, iterations=10)
    result = mppi.solve(START, u_prev=f64([0.0, 0.0]), parameters=TRACKING)
    distance = (result.states[:, :2] - f64([0.45, 0.05])).norm(dim=-1).min()
    assert distance > 0.19
    assert result.cost < MPPI(ocp, sigma=1e-6, samples=2, iterations=1).solve(
        START, u_prev=f64([0.0, 0.0]), parameters=TRACKING).cost
