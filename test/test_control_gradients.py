"""Gradients of optimal control solutions against finite differences of the whole solver."""
import pytest
import torch
from control_problems import START, STOPPED, TRACKING, double_integrator, f64, spacecraft, tracking, unicycle

from pypose_core.control.ocp import OcpOptions
from pypose_core.control.problem import Box, Soft, StateConstraint
from pypose_core.control.state_space import multiply

INF = float('inf')
EXACT = OcpOptions(tolerance=1e-11, feasibility=1e-11, qp_tolerance=1e-12, max_iterations=300)


def loss(result):
    weights = (torch.arange(t.numel()).double().add(s).cos().reshape(t.shape)
               for s, t in enumerate((result.controls, result.states)))
    return sum((w * t).sum() for w, t in zip(weights, (result.controls, result.states)))


def check(solve, theta, h=1e-5, tolerance=1e-5):
    """solve(θ) -> result."""
    theta = theta.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(solve(theta)), theta)
    expected = torch.zeros_like(found)
    with torch.no_grad():
        for i in range(theta.numel()):
            step = torch.zeros_like(theta)
            step.view(-1)[i] = h
            expected.view(-1)[i] = (loss(solve(theta + step)) - loss(solve(theta - step))) / (2 * h)
    assert expected.abs().max() > 1e-3      # a gradient worth checking
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found / scale, expected / scale, atol=tolerance, rtol=0)


@pytest.fixture(scope='module')
def problem():
    return tracking(hessian='exact', options=EXACT)


CASES = {
    'initial state': (START, lambda t: {'x0': t}),
    'control before': (STOPPED, lambda t: {'u_prev': t}),
    'reference': (TRACKING['goal'], lambda t: {'parameters': TRACKING | {'goal': t}}),
    'weights': (TRACKING['weight'], lambda t: {'parameters': TRACKING | {'weight': t}}),
    'limits': (f64([0.8, 1.3]), lambda t: {'bounds': {'control': (-t, t)}}),
    'limits of the rate': (f64([0.2, 0.5]), lambda t: {'bounds': {'control rate': (-t, t)}}),
    'constraint': (f64([0.04]), lambda t: {'bounds': {'disc': (t, f64([INF]))}}),
}


@pytest.mark.parametrize('name', CASES)
def test_gradients_at_active_constraints(problem, name):
    theta, arguments = CASES[name]

    def solve(theta):
        given = {'x0': START, 'u_prev': STOPPED, 'parameters': TRACKING, 'start': 'roll'} | arguments(theta)
        result = problem.solve(given.pop('x0'), **given)
        assert result.converged
        return result
    active = (solve(theta).multipliers > 1e-3).any(1).any(0)
    for row in ('control[1]', 'control rate[0]', 'control rate[1]', 'disc'):
        assert active[problem.row_names.index(row)]
    check(solve, theta)


def test_gradients_through_a_batch_are_those_of_its_problems(problem):
    torch.manual_seed(0)
    starts = (START + 0.05 * torch.randn(3, 3).double()).requires_grad_()
    together = problem.solve(starts, u_prev=STOPPED, parameters=TRACKING, start='roll')
    (found,) = torch.autograd.grad(sum(loss(together.one(i)) for i in range(3)), starts)
    for i in range(3):
        alone = problem.solve(starts[i], u_prev=STOPPED, parameters=TRACKING, start='roll')
        (expected,) = torch.autograd.grad(loss(alone), starts)
        torch.testing.assert_close(found[i], expected[i], rtol=1e-8, atol=1e-8)


def test_gradients_on_rotations():
    ocp, q = spacecraft(options=EXACT), f64([0.5, -0.3, 0.4, 0.7])
    q = q / q.norm()

    def turned(t):
        d = torch.cat([t / 2, torch.ones(1).double()])
        return multiply(q, d / d.norm())
    weight = f64([1.0, 2.0, 3.0])
    check(lambda t: ocp.solve(turned(t), parameters={'weight': weight}, start='roll'), f64([0.0, 0.0, 0.0]), h=1e-3)
    check(lambda t: ocp.solve(q, parameters={'weight': t}, start='roll'), weight, h=1e-3)


@pytest.mark.parametrize('soft', [Soft(linear=1.0), Soft(quadratic=30.0), Soft(linear=0.5, quadratic=10.0)])
def test_gradients_where_a_soft_constraint_is_violated(soft):
    ocp = double_integrator(options=EXACT, constraints=[
        StateConstraint('wall', lambda x, p: x[..., :1], upper=0.6, soft=soft)])
    assert ocp.solve(f64([0.55, 0.8]), start='roll').states[:, 0].max() > 0.62
    check(lambda t: ocp.solve(t, start='roll'), f64([0.55, 0.8]))
    check(lambda t: ocp.solve(f64([0.55, 0.8]), start='roll', bounds={'wall': (f64([-INF]), t)}), f64([0.6]))


def test_gradients_by_the_weights_of_a_network_within_the_dynamics():
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    ocp = tracking(horizon=6, hessian='exact', options=EXACT, constraints=[],
                   dynamics=lambda x, u, p: unicycle(x, u, p) + 0.05 * network(x))
    assert not ocp.native

    def solve(differentiable):
        return loss(ocp.solve(START, u_prev=STOPPED, parameters=TRACKING, start='roll', differentiable=differentiable))
    weights = list(network.parameters())
    found = torch.autograd.grad(solve(True), weights)
    for w, g in zip(weights, found):
        with torch.no_grad():
            direction = torch.randn_like(w)
            values = []
            for step in (1e-5, -2e-5):
                w += step * direction
                values.append(solve(False))
            w += 1e-5 * direction
        assert (g * direction).sum().item() == pytest.approx(((values[0] - values[1]) / 2e-5).item(), abs=1e-5)


def test_gradients_are_attached_only_where_an_input_needs_them():
    ocp = double_integrator(control_bounds=Box(-1.0, 1.0))
    result = ocp.solve(f64([0.1, 0.0]).requires_grad_(), start='roll')
    assert result.controls.requires_grad and result.states.requires_grad
    assert not ocp.solve(f64([0.1, 0.0]), start='roll').controls.requires_grad
