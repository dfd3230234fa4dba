"""Optimal control: optima against independent solvers, constraints, statuses, warm starts."""
import threading
import time

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from control_problems import START, STOPPED, TRACKING, double_integrator, f64, rk4, spacecraft, tracking, unicycle

from pypose_core.control.ocp import OCP, OcpOptions
from pypose_core.control.ocp_result import OcpStatus
from pypose_core.control.problem import Box, LeastSquares, Soft, StageConstraint, StateConstraint
from pypose_core.dynamics import Unicycle


def solve_tracking(ocp, **given):
    return ocp.solve(START, **({'u_prev': STOPPED, 'parameters': TRACKING, 'start': 'roll'} | given))


def test_an_unconstrained_linear_problem_is_solved_in_one_step_as_riccati_says():
    ocp = double_integrator()
    result = ocp.solve(f64([1.0, -0.5]), start='roll')
    A, B, P = np.array([[1, 0.1], [0, 1]]), np.array([[0.005], [0.1]]), 25 * np.eye(2)
    x, expected = np.array([1.0, -0.5]), []
    gains = []
    for _ in range(20):
        K = np.linalg.solve(0.25 * np.eye(1) + B.T @ P @ B, B.T @ P @ A)
        P = np.eye(2) + A.T @ P @ (A - B @ K)
        gains.append(K)
    for K in reversed(gains):
        expected.append(-K @ x)
        x = A @ x + B @ expected[-1]
    np.testing.assert_allclose(result.controls, expected, atol=1e-12)
    assert result.converged and result.stats.iterations <= 2
    assert result.stats.cost == pytest.approx(0.5 * np.array([1, -0.5]) @ P @ np.array([1, -0.5]), rel=1e-12)
    torch.testing.assert_close(result.costates[0], torch.from_numpy(P @ np.array([1, -0.5])), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('hessian', ['gauss_newton', 'exact'])
def test_a_constrained_problem_reaches_the_optimum_that_scipy_finds(hessian):
    ocp = tracking(hessian=hessian)
    result = solve_tracking(ocp)
    goal, weight = TRACKING['goal'], TRACKING['weight']

    def trajectory(u):
        X = [START]
        for row in u:
            X.append(unicycle(X[-1], row, None))
        return torch.stack(X)

    def cost(flat):
        u = flat.reshape(-1, 2)
        X, change = trajectory(u), torch.diff(u, dim=0, prepend=STOPPED[None])
        end = 3 * weight * (X[-1] - goal)
        return 0.5 * (((weight * (X[:-1] - goal)) ** 2).sum() + 0.09 * (u ** 2).sum() + 0.25 * (change ** 2).sum()
                      + (end ** 2).sum())

    def rows(flat):
        u = flat.reshape(-1, 2)
        change = torch.diff(u, dim=0, prepend=STOPPED[None])
        disc = ((trajectory(u)[1:, :2] - f64([0.45, 0.05])) ** 2).sum(-1) - 0.04
        limit = f64([0.2, 0.5])
        return torch.cat([(limit - change).reshape(-1), (limit + change).reshape(-1), disc])

    def gradient(function):
        return lambda flat: torch.func.jacrev(function)(torch.from_numpy(flat)).numpy()
    found = scipy.optimize.minimize(
        lambda flat: cost(torch.from_numpy(flat)).item(), result.controls.reshape(-1).numpy() * 0.9, jac=gradient(cost),
        bounds=[(-0.8, 0.8), (-1.3, 1.3)] * 12, method='SLSQP', options={'maxiter': 500, 'ftol': 1e-13},
        constraints={'type': 'ineq', 'fun': lambda flat: rows(torch.from_numpy(flat)).numpy(), 'jac': gradient(rows)})
    assert result.converged and found.success
    assert result.stats.cost == pytest.approx(found.fun, rel=1e-7)
    np.testing.assert_allclose(result.controls.reshape(-1), found.x, atol=2e-4)
    assert rows(result.controls.reshape(-1)).min() > -1e-8
    active = (result.multipliers > 1e-4).any(1)
    assert active[:, [ocp.row_names.index(n) for n in ('control rate[0]', 'disc')]].any(0).all()


def test_the_slope_of_the_cost_by_the_first_state_is_the_first_costate():
    ocp, h = tracking(hessian='exact'), 1e-6
    costate = solve_tracking(ocp).costates[0, :3]
    slope = []
    for i in range(3):
        costs = [ocp.solve(START + s * h * torch.eye(3).double()[i], u_prev=STOPPED, parameters=TRACKING,
                           start='roll').stats.cost for s in (1, -1)]
        slope.append((costs[0] - costs[1]) / (2 * h))
    torch.testing.assert_close(costate, f64(slope), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('make, given', [(tracking, {'u_prev': STOPPED}), (spacecraft, {})])
@pytest.mark.parametrize('hessian', ['gauss_newton', 'exact'])
def test_torch_and_native_evaluation_find_the_same_solution(make, given, hessian):
    if make is spacecraft and hessian == 'exact':
        with pytest.raises(ValueError, match='rotations'):
            make(hessian=hessian)
        return
    results = []
    for backend in ('native', 'torch'):
        ocp = make(backend=backend, hessian=hessian)
        start = START if make is tracking else f64([0.5, -0.5, 0.5, 0.5])
        parameters = {name: TRACKING[name] for name in ocp.shapes}
        results.append(ocp.solve(start, parameters=parameters, start='roll', **given))
    native, reference = results
    assert native.converged and abs(native.stats.iterations - reference.stats.iterations) <= 2   # rounding
    torch.testing.assert_close(native.controls, reference.controls, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(native.states, reference.states, rtol=1e-7, atol=1e-8)


def test_rotations_stay_of_unit_length_and_reach_the_identity_the_short_way():
    result = spacecraft(horizon=40).solve(f64([0.0, 0.0, -0.5, -0.75 ** 0.5]), start='roll',
                                          parameters={'weight': TRACKING['weight']})
    assert result.converged
    torch.testing.assert_close(result.states.norm(dim=-1), torch.ones(41).double(), atol=1e-9, rtol=0)
    assert result.states[-1, :3].abs().max() < 0.05 and (result.controls.abs() <= 1 + 1e-9).all()
    assert (result.controls[:5, 2] < -0.9).all()      # -q is the rotation q by 60 degrees


def test_bounds_hold_on_every_iterate_of_a_real_time_iteration():
    ocp = tracking(constraints=[])
    x, u = START, STOPPED
    once = OcpOptions(max_iterations=1, line_search=False)
    for k in range(30):
        result = ocp.solve(x, u_prev=u, parameters=TRACKING, start='shift' if k else 'roll', options=once)
        change = torch.diff(result.controls, dim=0, prepend=u[None])
        assert (result.controls.abs() <= f64([0.8, 1.3]) + 1e-7).all()
        assert (change.abs() <= f64([0.2, 0.5]) + 1e-6).all()
        u = result.controls[0]
        x = unicycle(x, u, None)
    assert (x - TRACKING['goal'])[:2].norm() < 0.15


def test_an_infeasible_problem_names_the_constraint_and_its_stage():
    ocp = double_integrator(control_bounds=Box(-1.0, 1.0), constraints=[
        StateConstraint('wall', lambda x, p: x[..., :1], upper=0.5)])
    result = ocp.solve(f64([0.4, 1.0]), start='roll')       # stopping takes 0.5 m from 1 m/s at 1 m/s²
    assert result.status is OcpStatus.INFEASIBLE and not result.converged
    assert result.stats.violation == pytest.approx(0.4, abs=0.06) and result.stats.worst.startswith('wall at stage ')
    assert 'wall' in str(result)
    assert ocp.solve(f64([0.0, 0.9]), start='roll').converged


def test_states_outside_their_bounds_are_reported_and_left_as_soon_as_possible():
    ocp = double_integrator(control_bounds=Box(-1.0, 1.0),
                            state_bounds=Box(f64([-float('inf'), -0.5]), f64([9.0, 0.5])))
    result = ocp.solve(f64([0.0, 1.0]), start='roll')
    assert result.status is OcpStatus.INFEASIBLE and 'state[1] at stage 1' in result.stats.worst
    torch.testing.assert_close(result.controls[:4, 0], f64([-1.0] * 4), atol=1e-4, rtol=0)


@pytest.mark.parametrize('price, violated', [(1.0, True), (100.0, False)])
def test_a_linear_price_above_the_multiplier_is_exact_and_below_it_is_paid(price, violated):
    wall = StateConstraint('wall', lambda x, p: x[..., :1], upper=0.6, soft=Soft(linear=price))
    hard = double_integrator(constraints=[StateConstraint('wall', wall.function, upper=0.6)])
    soft = double_integrator(constraints=[wall])
    start = f64([0.5, 0.8])
    result, strict = soft.solve(start, start='roll'), hard.solve(start, start='roll')
    assert result.converged and strict.converged and 1.0 < strict.multipliers.max() < 100.0
    if violated:
        assert result.states[:, 0].max() > 0.601
        assert result.multipliers[:, 1].max() == pytest.approx(price, rel=1e-5)
        assert result.stats.cost < strict.stats.cost
    else:
        torch.testing.assert_close(result.controls, strict.controls, atol=1e-6, rtol=0)


def test_a_quadratic_price_is_a_spring():
    stiff = 30.0
    soft = double_integrator(constraints=[StateConstraint('wall', lambda x, p: x[..., :1], upper=0.55,
                                                          soft=Soft(quadratic=stiff))])
    found = soft.solve(f64([0.5, 0.8]), start='roll')

    def cost(u):
        x, total = np.array([0.5, 0.8]), 0.0
        for k in range(20):
            total += 0.5 * (x @ x + 0.25 * u[k] ** 2)
            x = np.array([x[0] + 0.1 * x[1] + 0.005 * u[k], x[1] + 0.1 * u[k]])
            total += 0.5 * stiff * max(x[0] - 0.55, 0.0) ** 2
        return total + 12.5 * x @ x
    expected = scipy.optimize.minimize(cost, np.zeros(20), method='BFGS', options={'gtol': 1e-9, 'maxiter': 1000})
    assert found.converged and found.stats.cost == pytest.approx(expected.fun, rel=1e-8)
    np.testing.assert_allclose(found.controls[:, 0], expected.x, atol=1e-4)


def test_a_shifted_warm_start_saves_iterations():
    ocp = tracking(hessian='exact')
    cold = solve_tracking(ocp)
    x = unicycle(START, cold.controls[0], None)
    warm = ocp.solve(x, u_prev=cold.controls[0], parameters=TRACKING, start='shift')
    again = ocp.solve(x, u_prev=cold.controls[0], parameters=TRACKING, start='roll')
    assert warm.converged and warm.stats.qp_iterations < again.stats.qp_iterations
    torch.testing.assert_close(warm.controls, again.controls, atol=1e-5, rtol=0)


def test_a_batch_is_its_problems_one_by_one():
    torch.manual_seed(3)
    starts = START + 0.1 * torch.randn(5, 3).double()
    goals = (TRACKING['goal'] + 0.1 * torch.randn(5, 3).double())[:, None].expand(5, 13, 3)
    together = tracking().solve(starts, u_prev=STOPPED, parameters=TRACKING | {'goal': goals}, start='roll')
    assert together.converged and len(together.stats) == 5
    for i in range(5):
        alone = tracking().solve(starts[i], u_prev=STOPPED, parameters=TRACKING | {'goal': goals[i]}, start='roll')
        torch.testing.assert_close(together.controls[i], alone.controls, rtol=0, atol=1e-12)


def untraceable(function):
    """The same function, with a term that is zero and has no expression."""
    return lambda x, u, p: function(x, u, p) + 0 * torch.special.bessel_j0(x)


@pytest.mark.parametrize('hessian', ['gauss_newton', 'exact'])
def test_dynamics_by_torch_and_costs_by_tapes_find_the_solution_of_the_native_problem(hessian):
    mixed, ours = tracking(dynamics=untraceable(unicycle), hessian=hessian), tracking(hessian=hessian)
    assert mixed.in_torch == 'dynamics' and 'bessel' in mixed.reason and ours.native
    x, u = START, STOPPED
    for k in range(3):
        found, expected = (ocp.solve(x, u_prev=u, parameters=TRACKING, start='shift' if k else 'roll')
                           for ocp in (mixed, ours))
        assert found.converged and abs(found.stats.iterations - expected.stats.iterations) <= 2   # rounding
        torch.testing.assert_close(found.controls, expected.controls, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(found.costates, expected.costates, rtol=1e-5, atol=1e-6)
        u = expected.controls[0]
        x = unicycle(x, u, None)


@pytest.mark.parametrize('backend', ['auto', 'torch'])
def test_a_batch_by_torch_is_the_batch_solved_natively(backend):
    torch.manual_seed(4)
    starts = START + 0.1 * torch.randn(4, 3).double()
    goals = (TRACKING['goal'] + 0.1 * torch.randn(4, 3).double())[:, None].expand(4, 13, 3)
    ocp, native = tracking(dynamics=untraceable(unicycle), backend=backend), tracking()
    for start in ('roll', 'shift'):
        found, expected = (o.solve(starts, u_prev=STOPPED, parameters=TRACKING | {'goal': goals}, start=start)
                           for o in (ocp, native))
        assert found.converged and expected.converged
        torch.testing.assert_close(found.controls, expected.controls, rtol=1e-7, atol=1e-8)


def test_the_cartpole_swings_up_from_rest():
    def rate(x, u):
        theta, v, w, force = x[..., 1], x[..., 2], x[..., 3], u[..., 0]
        s, c = torch.sin(theta), torch.cos(theta)
        mass = 1.0 + 0.3 * s * s
        return torch.stack([v, w, (force + 0.3 * s * (0.5 * w * w + 9.81 * c)) / mass,
                            (-force * c - 0.15 * w * w * s * c - 1.3 * 9.81 * s) / (0.5 * mass)], -1)
    goal = f64([0, np.pi, 0, 0])
    ocp = OCP(lambda x, u, p: rk4(rate, x, u, 0.05), state=4, control=1, horizon=60, hessian='exact',
              stage_cost=LeastSquares(lambda x, u, p: 0.1 * torch.cat([x - goal, u], -1)),
              terminal_cost=LeastSquares(lambda x, p: f64([30.0, 30.0, 10.0, 10.0]) * (x - goal)),
              options=OcpOptions(max_iterations=300))
    wiggle = 0.01 * torch.arange(60).double().sin()[:, None]
    result = ocp.solve(torch.zeros(4), start='roll', guess=(None, wiggle))
    assert result.converged and result.stats.cost == pytest.approx(9.17406, abs=1e-4)


def test_a_stage_constraint_on_state_and_control_holds():
    power = StageConstraint('power', lambda x, u, p: (x[..., 1:] * u), upper=0.1)
    ocp = double_integrator(constraints=[power])
    result = ocp.solve(f64([1.5, 0.0]), start='roll')
    product = result.states[:-1, 1] * result.controls[:, 0]
    assert result.converged and product.max() == pytest.approx(0.1, abs=1e-7)


def test_another_thread_runs_while_a_problem_is_solved():
    """The solve is one native call: a count that goes on within it went on without the GIL."""
    ocp = tracking(horizon=400, constraints=[], options=OcpOptions(tolerance=0.0, max_iterations=200))
    given = {'u_prev': STOPPED, 'parameters': TRACKING, 'start': 'roll'}
    ocp.solve(START, **given)
    turns, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(1e-4)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = turns[0]
        result = ocp.solve(START, **given)
        during = turns[0] - before
    finally:
        stop.set()
        thread.join()
    assert during > 20, f'{during} turns in {result.stats.seconds} s'


def test_functions_that_are_not_finite_end_with_a_status():
    ocp = OCP(lambda x, u, p: torch.log(x) + u, state=1, control=1, horizon=5,
              stage_cost=LeastSquares(lambda x, u, p: x), terminal_cost=LeastSquares(lambda x, p: x))
    result = ocp.solve(f64([-1.0]), start='roll')
    assert result.status is OcpStatus.NUMERICAL and 'not finite' in str(result)


def test_a_control_before_that_is_out_of_reach_of_the_bounds_is_infeasible_by_its_rate():
    result = solve_tracking(tracking(), u_prev=f64([2.0, 0.0]))
    assert result.status is OcpStatus.INFEASIBLE and result.stats.worst == 'control rate[0] at stage 0'
    assert (result.controls.abs() <= f64([0.8, 1.3]) + 1e-9).all()


@pytest.mark.parametrize('dynamics', [unicycle, untraceable(unicycle)], ids=['native', 'torch'])
@pytest.mark.parametrize('hessian', ['gauss_newton', 'exact'])
def test_nothing_is_left_of_a_state_that_was_not_a_number(dynamics, hessian):
    ocp = tracking(horizon=6, dynamics=dynamics, hessian=hessian)
    expected = solve_tracking(ocp)
    for before in ('roll', 'shift'):
        for after in ('keep', 'shift', 'roll'):
            broken = ocp.solve(f64([float('nan'), 0.0, 0.0]), u_prev=STOPPED, parameters=TRACKING, start=before)
            assert broken.status is OcpStatus.NUMERICAL
            result = solve_tracking(ocp, start=after)
            assert result.converged
            torch.testing.assert_close(result.controls, expected.controls, rtol=0, atol=1e-6)


def test_bounds_by_stage_hold_from_the_constructor_and_from_the_call():
    inf = float('inf')
    end = torch.full((21, 1), inf).double()
    end[-1] = 0
    ocp = double_integrator(constraints=[StateConstraint('stop', lambda x, p: x[..., :1], lower=-end, upper=end)])
    result = ocp.solve(f64([1.0, 0.0]), start='roll')
    assert result.converged and abs(result.states[-1, 0]) < 1e-8 < abs(result.states[-2, 0])
    wall = -0.2 - 0.02 * torch.arange(21).double()[:, None]
    result = ocp.solve(f64([1.0, -1.0]), start='roll', bounds={'stop': (wall, -end.clamp(max=-inf))})
    assert result.converged and (result.states[1:, 0] >= wall[1:, 0] - 1e-7).all()
    freed = ocp.solve(f64([1.0, 0.0]), start='roll', bounds={'stop': (torch.tensor(-inf), torch.tensor(inf))})
    torch.testing.assert_close(freed.controls, double_integrator().solve(f64([1.0, 0.0]), start='roll').controls)


@pytest.mark.parametrize('dynamics', [unicycle, untraceable(unicycle)], ids=['native', 'torch'])
def test_arrays_give_arrays_with_the_numbers_that_tensors_give(dynamics):
    bounds = {'control': (f64([-0.3, -0.4]), f64([0.3, 0.4]).expand(7, 2))}
    guess = torch.zeros(7, 3).double(), torch.full((6, 2), 0.1).double()
    x0 = torch.stack([START, START + 0.1])
    expected = solve_tracking(tracking(horizon=6, dynamics=dynamics), bounds=bounds, guess=guess)
    batch = tracking(horizon=6, dynamics=dynamics).solve(
        x0, u_prev=STOPPED, parameters=TRACKING, bounds=bounds, guess=guess, start='roll')
    given = {'u_prev': STOPPED.numpy(), 'parameters': {name: np.asarray(value) for name, value in TRACKING.items()},
             'bounds': {name: tuple(b.numpy() for b in pair) for name, pair in bounds.items()},
             'guess': tuple(g.numpy() for g in guess), 'start': 'roll'}
    for x, tensors in ((START, expected), (x0, batch)):
        arrays = tracking(horizon=6, dynamics=dynamics).solve(x.numpy(), **given)
        for name in ('states', 'controls', 'costates', 'multipliers'):
            assert isinstance(getattr(arrays, name), np.ndarray)
            np.testing.assert_array_equal(getattr(arrays, name), getattr(tensors, name).numpy())
        assert arrays.status == tensors.status and arrays.converged == tensors.converged
    ocp = tracking(horizon=6, dynamics=dynamics)
    for wrong, match in (({'differentiable': True}, 'no gradients'), ({'bounds': {'control': (1.0, -1.0)}}, 'between'),
                         ({'bounds': {'control': (np.zeros(3), 1.0)}}, 'have shape'), ({'u_prev': None}, 'u_prev')):
        with pytest.raises(ValueError, match=match):
            ocp.solve(START.numpy(), **(given | wrong))


def test_a_model_of_the_library_is_given_as_it_is():
    stage, end = LeastSquares(lambda x, u, p: torch.cat([x, u], -1)), LeastSquares(lambda x, p: x)
    ocp = OCP(Unicycle(0.1), state=3, control=2, horizon=5, stage_cost=stage, terminal_cost=end)
    result = ocp.solve(f64([0.3, 0.1, 0.2]), start='roll')
    assert ocp.native and result.converged
    x, u = result.states, result.controls
    torch.testing.assert_close(x[1:], Unicycle(0.1).state_transition(x[:-1], u), atol=1e-7, rtol=0)


def test_mistakes_are_explained():
    ocp = tracking()
    with pytest.raises(ValueError, match='u_prev'):
        ocp.solve(START, parameters=TRACKING)
    with pytest.raises(ValueError, match='3 numbers'):
        ocp.solve(f64([0.0, 1.0]), u_prev=STOPPED, parameters=TRACKING)
    with pytest.raises(ValueError, match="'goal', 'weight'"):
        ocp.solve(START, u_prev=STOPPED)
    with pytest.raises(ValueError, match='never soft'):
        tracking(control_bounds=Box(-1.0, 1.0, Soft(1.0)))
    with pytest.raises(ValueError, match='hessian'):
        tracking(hessian='newton')
    with pytest.raises(ValueError, match='horizon 0'):
        double_integrator(horizon=0)
    for match, given in {
            "'goal' has shape": {'parameters': TRACKING | {'goal': STOPPED}}, 'start must be': {'start': 'warm'},
            "no constraint 'disk'": {'bounds': {'disk': (0.0, 1.0)}}, 'u_prev has shape': {'u_prev': START},
            "'control' leave nothing": {'bounds': {'control': (f64([0.1, 0.1]), f64([-0.1, 0.2]))}},
            "bounds of 'disc' have shape": {'bounds': {'disc': (torch.zeros(7), torch.ones(7))}},
            'guess of controls': {'guess': (None, torch.zeros(3, 2))}}.items():
        with pytest.raises(ValueError, match=match):
            solve_tracking(ocp, **given)
    with pytest.raises(ValueError, match='two constraints'):
        double_integrator(constraints=[StateConstraint('a', lambda x, p: x)] * 2)
    with pytest.raises(ValueError, match='dynamics return shape'):
        tracking(dynamics=lambda x, u, p: x[..., :2])
    with pytest.raises(ValueError, match='terminal_cost must return a vector'):
        double_integrator(terminal_cost=LeastSquares(lambda x, p: x.sum(-1)))
