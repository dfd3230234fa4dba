"""MPC in PyPose's form: its documented numbers, batches, bounds, optimality and gradients."""
import warnings

import pytest
import torch

import pypose_core as pp
from pypose_core.dynamics import CartPole, Unicycle, euler

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')


def documented(library):
    """The example in the documentation of PyPose's MPC, whose system takes one state of shape (1, 4) only."""
    class Cart(library.module.NLS):
        def state_transition(self, state, input, t=None):
            x, v, angle, turning = state.squeeze()
            force, c, s = input.squeeze(), angle.cos(), angle.sin()
            temp = (force + 15.0 * turning ** 2 * s) / 30.0
            angular = (9.81 * s - c * temp) / (1.5 * (4.0 / 3.0 - 10.0 * c ** 2 / 30.0))
            rate = torch.stack((v, temp - 15.0 * angular * c / 30.0, turning, angular))
            return (state.squeeze() + rate * 0.01).unsqueeze(0)

        def observation(self, state, input, t=None):
            return state
    torch.manual_seed(0)
    Q, p = torch.eye(5).repeat(1, 5, 1, 1), torch.randn(1, 5, 5)
    u = (torch.arange(5) * 0.01).sin().view(1, 5, 1)
    stepper = library.utils.ReduceToBason(steps=15)
    return library.module.MPC(Cart(), Q, p, 5, stepper=stepper)(0.01, torch.tensor([[0, 0, torch.pi, 0]]), u_init=u)


def test_the_documented_example_gives_its_documented_numbers():
    x, u, cost = documented(pp)
    torch.testing.assert_close(u.flatten(), torch.tensor([-0.8485, 0.1579, 0.1440, -0.0530, 0.1023]), atol=1e-4, rtol=0)
    end = torch.tensor([-1.1933e-05, -2.2073e-04, 3.1416, -1.0991e-04])
    torch.testing.assert_close(x[0, 5], end, atol=1e-6, rtol=1e-4)
    for a, b in zip(documented(pypose), (x, u, cost)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def swing(B=4, T=25, dtype=torch.float64):
    torch.manual_seed(0)
    system = CartPole(0.05, integrator=euler)
    Q = torch.diag(torch.tensor([1.0, 0.1, 5.0, 0.1, 0.05], dtype=dtype)).expand(B, T, 5, 5)
    x_init = torch.tensor([0.0, 0.0, 0.4, 0.0], dtype=dtype) + 0.3 * torch.randn(B, 4, dtype=dtype)
    return system, Q, torch.zeros(B, T, 5, dtype=dtype), T, x_init


def objective(system, Q, p, x_init, u):
    x, total = x_init, 0
    for t in range(u.shape[1]):
        tau = torch.cat([x, u[:, t]], -1)
        total = total + 0.5 * pp.bvmv(tau, Q[:, t], tau) + (p[:, t] * tau).sum(-1)
        x = system.state_transition(x, u[:, t])
    return total


def test_the_solution_is_stationary_for_each_problem_of_a_batch():
    system, Q, p, T, x_init = swing()
    mpc = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=50, patience=50))
    x, u, cost = mpc(0.05, x_init)
    assert mpc.trajectory.converged.all()
    u = u.detach().requires_grad_()
    total = objective(system, Q, p, x_init, u)
    torch.testing.assert_close(total, cost)
    gradient, = torch.autograd.grad(total.sum(), u)
    assert gradient.abs().max() < 1e-6
    again = pp.module.MPC(system, Q[:1], p[:1], T, pp.utils.ReduceToBason(steps=50, patience=50))
    alone = again(0.05, x_init[:1])
    torch.testing.assert_close(alone[1], u[:1].detach(), atol=1e-7, rtol=1e-7)


def test_far_starts_still_lower_the_cost():
    system, Q, p, T, x_init = swing()
    x_init = x_init + torch.tensor([0.0, 0.0, torch.pi, 0.0], dtype=torch.float64)   # hanging: iLQR alone diverges here
    start = torch.zeros(4, T, 1, dtype=torch.float64)
    mpc = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=100, patience=20))
    _, _, cost = mpc(0.05, x_init, start)
    assert cost.isfinite().all() and (cost < objective(system, Q, p, x_init, start)).all()


def test_the_callers_stepper_is_left_alone():
    system, Q, p, T, x_init = swing(1, 5)
    stepper = pp.utils.ReduceToBason(steps=7)
    mpc = pp.module.MPC(system, Q, p, T, stepper)
    mpc(0.05, x_init)
    assert stepper.max_steps == 7 and stepper.steps == 0


def test_bounds_are_obeyed_and_the_solution_is_optimal_within_them():
    system, Q, p, T, x_init = swing()
    mpc = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=60))
    _, u, cost = mpc(0.05, x_init, u_lower=-1.5, u_upper=2.0)
    assert (u >= -1.5).all() and (u <= 2.0).all() and ((u < -1.499) | (u > 1.999)).any()
    u = u.detach().requires_grad_()
    gradient, = torch.autograd.grad(objective(system, Q, p, x_init, u).sum(), u)
    free = (u > -1.5 + 1e-6) & (u < 2.0 - 1e-6)
    assert gradient[free].abs().max() < 1e-5
    assert (gradient[u <= -1.5 + 1e-6] > -1e-6).all() and (gradient[u >= 2.0 - 1e-6] < 1e-6).all()


def gradients(function, theta, h=1e-5):
    """Central differences of a number by each entry of theta."""
    flat = theta.detach().reshape(-1)
    slopes = []
    for i in range(len(flat)):
        d = torch.zeros_like(flat)
        d[i] = h
        plus, minus = (function((flat + s * d).view(theta.shape)).item() for s in (1, -1))
        slopes.append((plus - minus) / (2 * h))
    return torch.tensor(slopes, dtype=theta.dtype).view(theta.shape)


@pytest.mark.parametrize('bounds', [{}, {'u_lower': -1.5, 'u_upper': 2.0}], ids=['free', 'bounded'])
def test_gradients_are_those_of_the_whole_solver(bounds):
    system, Q, p, T, _ = swing(1, 8)
    x_init = torch.tensor([[0.1, 0.0, 0.5, 0.2]], dtype=torch.float64)

    def solve(theta):
        system.length, diagonal, start = theta[0], theta[1:6], theta[6:10]
        weight = torch.diag(diagonal).expand(1, T, 5, 5)
        mpc = pp.module.MPC(system, weight, p + theta[10], T, pp.utils.ReduceToBason(steps=100, patience=100))
        x, u, cost = mpc(0.05, start[None], **bounds)
        return x.sin().sum() + u.cos().sum() + 0.1 * cost.sum()
    theta = torch.cat([torch.tensor([0.5], dtype=torch.float64), torch.diagonal(Q[0, 0]), x_init[0],
                       torch.tensor([0.1], dtype=torch.float64)]).requires_grad_()
    solve(theta).backward()
    torch.testing.assert_close(theta.grad, gradients(lambda z: solve(z), theta), atol=2e-5, rtol=1e-4)


def test_gradients_of_bounds_are_those_of_the_whole_solver():
    system, Q, p, T, x_init = swing(1, 6)

    def solve(limit):
        mpc = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=100, patience=100))
        x, u, _ = mpc(0.05, x_init, u_lower=-limit, u_upper=limit)
        return x.sin().sum() + u.square().sum()
    limit = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    solve(limit).backward()
    assert limit.grad.abs() > 1e-3
    torch.testing.assert_close(limit.grad, gradients(solve, limit), atol=1e-5, rtol=1e-4)


def test_a_network_in_the_dynamics_learns_through_the_controller():
    torch.manual_seed(0)
    from pypose_core.dynamics import Residual
    net = torch.nn.Linear(5, 3).double()
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    system, T = Residual(Unicycle(0.1), net), 8
    Q = torch.diag(torch.tensor([1.0, 1.0, 0.1, 0.1, 0.1], dtype=torch.float64)).expand(1, T, 5, 5)
    p = torch.zeros(1, T, 5, dtype=torch.float64)
    x_init = torch.tensor([[-1.0, 0.5, 0.0]], dtype=torch.float64)
    mpc = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=30))
    _, u, _ = mpc(0.1, x_init)
    (u - 0.3).square().sum().backward()
    assert net.bias.grad.abs().sum() > 0 and net.weight.grad.isfinite().all()


def test_nothing_is_differentiated_where_nothing_asks():
    system, Q, p, T, x_init = swing(1, 5)
    x, u, cost = pp.module.MPC(system, Q, p, T)(0.05, x_init)
    assert not (x.requires_grad or u.requires_grad or cost.requires_grad)


def test_a_linear_system_is_solved_at_once():
    torch.manual_seed(0)
    lti = pp.module.LTI(torch.eye(2), torch.randn(2, 1), torch.eye(2), torch.zeros(2, 1))
    Q, p, x_init = torch.eye(3).expand(1, 6, 3, 3), torch.randn(1, 6, 3), torch.randn(1, 2)
    for a, b in zip(pp.module.MPC(lti, Q, p, 6)(1, x_init), pp.module.LQR(lti, Q, p, 6)(x_init)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('bounds', [{}, {'u_lower': -1.5, 'u_upper': 2.0}, {'du': 0.5}], ids=['free', 'bounded', 'du'])
def test_a_traced_system_gives_what_torch_gives(bounds, monkeypatch):
    system, Q, p, T, x_init = swing(B=11)

    def solve():
        return pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=50, patience=50))(0.05, x_init, **bounds)
    fast = solve()
    monkeypatch.setattr('pypose_core.control.mpc.trace', lambda *_: None)
    for a, b in zip(fast, solve()):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


def test_a_system_that_changes_is_traced_again():
    system, Q, p, T, x_init = swing(1, 10)
    mpc = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=50, patience=50))
    first = mpc(0.05, x_init)[1]
    system.length = 0.7
    second = mpc(0.05, x_init)[1]
    fresh = pp.module.MPC(system, Q, p, T, pp.utils.ReduceToBason(steps=50, patience=50))(0.05, x_init)[1]
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(second, fresh, atol=1e-8, rtol=1e-8)


def test_time_and_single_precision_reach_a_traced_system():
    class Windy(Unicycle):
        def state_transition(self, state, input, t=None):
            return super().state_transition(state, input) + torch.stack([t * 0.1, t * 0.0, t * 0.0], -1)
    Q, p = torch.eye(5).expand(1, 6, 5, 5), torch.zeros(1, 6, 5)
    x_init, results = torch.tensor([[1.0, 0.5, 0.2]]), []
    for dtype in (torch.float32, torch.float64):
        mpc = pp.module.MPC(Windy(0.1), Q.to(dtype), p.to(dtype), 6, pp.utils.ReduceToBason(steps=30, patience=30))
        x, u, _ = mpc(0.5, x_init.to(dtype))
        results.append(u)
        state = x_init.to(dtype)
        for k in range(6):
            state = Windy(0.1).state_transition(state, u[:, k], torch.tensor([0.5 * k], dtype=dtype))
            torch.testing.assert_close(state, x[:, k + 1])
    assert results[0].dtype == torch.float32
    torch.testing.assert_close(results[0].double(), results[1], atol=1e-4, rtol=1e-3)
