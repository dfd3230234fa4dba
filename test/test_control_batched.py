"""Batches in torch: the solutions are those of the native solver."""
import pytest
import torch
from control_problems import START, STOPPED, TRACKING, double_integrator, f64, spacecraft, tracking

from pypose_core.control import StateConstraint, solve_batched
from pypose_core.control.problem import Box, Soft


def test_a_constrained_batch_is_solved_as_natively():
    torch.manual_seed(3)
    starts = START + 0.1 * torch.randn(5, 3).double()
    goals = (TRACKING['goal'] + 0.1 * torch.randn(5, 3).double())[:, None].expand(5, 7, 3)
    given = {'u_prev': STOPPED, 'parameters': TRACKING | {'goal': goals}}
    ocp = tracking(horizon=6)
    expected, found = ocp.solve(starts, **given, start='roll'), solve_batched(
        ocp, starts, **given, max_iterations=60, tolerance=1e-5, qp_iterations=20)
    assert found.converged().all() and (expected.multipliers > 1e-3).flatten(1).any(1).all()
    torch.testing.assert_close(found.controls, expected.controls, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.states, expected.states, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.cost, f64([s.cost for s in expected.stats]), atol=1e-5, rtol=0)


def test_rotations_in_a_batch():
    q = torch.nn.functional.normalize(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    given = {'parameters': {'weight': TRACKING['weight']}}
    ocp = spacecraft()
    expected, found = ocp.solve(q, **given, start='roll'), solve_batched(ocp, q, **given, max_iterations=60)
    torch.testing.assert_close(found.controls, expected.controls, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.states.norm(dim=-1), torch.ones(4, 11).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize('soft', [Soft(linear=1.0), Soft(quadratic=30.0), None])
def test_soft_rows_are_paid_for_and_rows_out_of_reach_are_reported(soft):
    wall = StateConstraint('wall', lambda x, p: x[..., :1], upper=0.6, soft=soft)
    ocp = double_integrator(constraints=[wall], control_bounds=Box(-1.0, 1.0))
    starts = f64([[0.55, 0.8], [0.1, 0.2]])     # stopping takes 0.32 m from the first, at most 0.05 m are there
    expected, found = ocp.solve(starts, start='roll'), solve_batched(ocp, starts)
    torch.testing.assert_close(found.controls, expected.controls, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.violation > 0.1, torch.tensor([soft is None, False]))


def test_problems_without_rows_and_with_exact_hessians():
    starts = f64([[1.0, -0.5], [0.3, 0.1]])
    expected = double_integrator().solve(starts, start='roll')
    found = solve_batched(double_integrator(), starts)
    assert found.converged().all() and found.iterations <= 2
    torch.testing.assert_close(found.controls, expected.controls, atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match='gauss_newton'):
        solve_batched(double_integrator(hessian='exact'), starts)
