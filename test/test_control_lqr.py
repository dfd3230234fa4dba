"""LQR in PyPose's form: its documented numbers, bounds, time-varying and nonlinear systems."""
import warnings

import pytest
import torch

import pypose_core as pp
from pypose_core.control import solve_lqr

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')


def documented(library):
    """The example in the documentation of PyPose's LQR."""
    torch.manual_seed(0)
    Q = torch.randn(2, 5, 7, 7)
    Q, p, r = Q.mT @ Q, torch.randn(2, 5, 7), 0.2 * torch.randn(4, 4)
    A, B = (torch.eye(4) + r).repeat(2, 1, 1), torch.randn(2, 4, 3)
    C, D = torch.eye(4).repeat(2, 1, 1), torch.zeros(2, 4, 3)
    c1, x_init = torch.randn(4).repeat(2, 1), torch.zeros(2, 4)
    x_init = torch.randn(2, 4)
    return library.module.LQR(library.module.LTI(A, B, C, D, c1, torch.zeros(2, 4)), Q, p, 5), x_init


def test_the_documented_example_gives_its_documented_numbers():
    lqr, x_init = documented(pp)
    x, u, cost = lqr(x_init, 1)
    torch.testing.assert_close(x[0, 5], torch.tensor([7.2346, 4.9958, 17.9926, -7.7881]), atol=1e-3, rtol=0)
    torch.testing.assert_close(u[1, 0], torch.tensor([-0.1795, 0.9153, 1.7066]), atol=1e-3, rtol=0)
    theirs = documented(pypose)[0](x_init, 1)
    for a, b in zip(theirs, (x, u, cost)):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)
    for a, b in zip(documented(pypose)[0].lqr_backward(x_init, 1), lqr.lqr_backward(x_init, 1)):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def random_problem(library, kind, B=3, T=6, dtype=torch.float64):
    torch.manual_seed(1)
    n, m = 4, 2
    Q = torch.randn(B, T, n + m, n + m, dtype=dtype)
    Q, p = Q @ Q.mT + torch.eye(n + m, dtype=dtype), torch.randn(B, T, n + m, dtype=dtype)
    lead = (B,) if kind == 'LTI' else (B, T)
    A = torch.eye(n, dtype=dtype) + 0.2 * torch.randn(*lead, n, n, dtype=dtype)
    Bm, c1 = torch.randn(*lead, n, m, dtype=dtype), torch.randn(*lead, n, dtype=dtype)
    C, D = torch.eye(n, dtype=dtype), torch.zeros(n, m, dtype=dtype)
    if kind == 'LTI':
        return library.module.LTI(A, Bm, C, D, c1), Q, p, T, torch.randn(B, n, dtype=dtype)

    class Stacked(library.module.LTV):
        A = property(lambda self: self._A[..., self._t % T, :, :])
        B = property(lambda self: self._B[..., self._t % T, :, :])
        C = property(lambda self: self._C)
        D = property(lambda self: self._D)
        c1 = property(lambda self: self._c1[..., self._t % T, :])
    return Stacked(A, Bm, C, D, c1), Q, p, T, torch.randn(B, n, dtype=dtype)


@pytest.mark.parametrize('kind', ['LTI', 'LTV'])
def test_values_and_gradients_are_those_of_pypose(kind):
    results = []
    for library in (pypose, pp):
        system, Q, p, T, x_init = random_problem(library, kind)
        inputs = [z.requires_grad_() for z in (Q, p, x_init)]
        if kind == 'LTI':
            inputs += [system._A.requires_grad_(), system._B.requires_grad_(), system._c1.requires_grad_()]
        x, u, cost = library.module.LQR(system, Q, p, T)(x_init)
        grads = torch.autograd.grad((x.sin().sum() + u.cos().sum() + cost.sum()), inputs)
        results.append([x, u, cost, (grads[0] + grads[0].mT) / 2, *grads[1:]])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-8)


def test_an_ltv_system_without_overridden_properties_is_its_stack():
    system, Q, p, T, x_init = random_problem(pp, 'LTV')
    plain = pp.module.LTV(system._A, system._B, system._C, system._D, system._c1)
    for a, b in zip(pp.module.LQR(system, Q, p, T)(x_init), pp.module.LQR(plain, Q, p, T)(x_init)):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match='6 steps'):
        pp.module.LQR(plain, Q[:, :1].expand(-1, 9, -1, -1), p[:, :1].expand(-1, 9, -1), 9)(x_init)


def test_weights_for_all_steps_may_be_given_once():
    system, Q, p, T, x_init = random_problem(pp, 'LTI')
    once = pp.module.LQR(system, Q[:, 0], p[:, 0], T)(x_init)
    each = pp.module.LQR(system, Q[:, :1].repeat(1, T, 1, 1), p[:, :1].repeat(1, T, 1), T)(x_init)
    for a, b in zip(once, each):
        torch.testing.assert_close(a, b)


def test_the_clock_is_left_alone():
    system, Q, p, T, x_init = random_problem(pp, 'LTV')
    system.reset(3)
    first = pp.module.LQR(system, Q, p, T)(x_init)
    assert system.systime == 3
    torch.testing.assert_close(pp.module.LQR(system, Q, p, T)(x_init)[1], first[1])


@pytest.mark.parametrize('bound', [0.2, torch.tensor([0.2, 0.1], dtype=torch.float64)], ids=['number', 'vector'])
def test_bounds_are_obeyed_and_cost_no_more_than_they_must(bound):
    system, Q, p, T, x_init = random_problem(pp, 'LTI')
    lqr = pp.module.LQR(system, Q, p, T)
    x, u, cost = lqr(x_init, u_lower=-bound, u_upper=bound)
    assert (u.abs() <= bound).all()
    free = lqr(x_init)
    assert (free[1].abs() > bound).any() and (cost > free[2]).all()
    torch.manual_seed(0)
    for _ in range(50):     # no admissible input nearby is better
        other = (u + 0.02 * torch.randn_like(u)).clamp(min=-torch.as_tensor(bound), max=torch.as_tensor(bound))
        total, state = 0, x_init
        for t in range(T):
            tau = torch.cat([state, other[:, t]], -1)
            total = total + 0.5 * pp.bvmv(tau, Q[:, t], tau) + (p[:, t] * tau).sum(-1)
            state = system.state_transition(state, other[:, t])
        assert (total >= cost - 1e-9).all()


def test_du_limits_the_change_from_the_given_inputs():
    system, Q, p, T, x_init = random_problem(pp, 'LTI')
    given = torch.randn(3, T, 2, dtype=torch.float64)
    _, u, _ = pp.module.LQR(system, Q, p, T)(x_init, u_traj=given, du=0.05)
    assert ((u - given).abs() <= 0.05 + 1e-12).all() and ((u - given).abs() > 0.049).any()


class Pendulum(torch.nn.Module):
    """Methods shared by both libraries' nonlinear systems."""

    def state_transition(self, state, input, t=None):
        angle, rate = state[..., 0], state[..., 1]
        return torch.stack([angle + 0.1 * rate, rate + 0.1 * (input[..., 0] + self.gravity * angle.sin())], -1)

    def observation(self, state, input, t=None):
        return state


@pytest.mark.parametrize('gradient', [False, True])
def test_one_iteration_along_a_nonlinear_system_is_pyposes(gradient):
    results = []
    for library in (pypose, pp):
        torch.manual_seed(0)
        system = type('System', (Pendulum, library.module.NLS), {})()
        system.gravity = 9.81
        Q, p = torch.eye(3, dtype=torch.float64).expand(1, 8, 3, 3), torch.randn(1, 8, 3, dtype=torch.float64)
        x_init = torch.tensor([[0.5, 0.0]], dtype=torch.float64, requires_grad=gradient)
        u = 0.1 * torch.randn(1, 8, 1, dtype=torch.float64)
        with torch.set_grad_enabled(gradient):
            results.append(library.module.LQR(system, Q, p, 8)(x_init.detach(), 1, u))
    for a, b in zip(*results):
        torch.testing.assert_close(a.detach(), b.detach(), atol=1e-9, rtol=1e-9)


def test_gradients_through_one_iteration_are_those_of_finite_differences():
    class Learned(Pendulum, pp.module.NLS):
        def __init__(self):
            super().__init__()
            self.gravity = torch.nn.Parameter(torch.tensor(9.81, dtype=torch.float64))
    system = Learned()
    Q, p = torch.eye(3, dtype=torch.float64).expand(2, 5, 3, 3), torch.zeros(2, 5, 3, dtype=torch.float64)
    u = torch.zeros(2, 5, 1, dtype=torch.float64)

    def function(x_init, gravity):
        system.gravity = torch.nn.Parameter(gravity) if not gravity.requires_grad else system.gravity
        with torch.no_grad():
            system.gravity.copy_(gravity)
        x, u_new, cost = pp.module.LQR(system, Q, p, 5)(x_init, 1, u)
        return (x.sin().sum() + u_new.sum() + cost.sum())
    x_init = torch.tensor([[0.5, 0.0], [1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    function(x_init, torch.tensor(9.81, dtype=torch.float64)).backward()
    h = 1e-5
    slope = [function(x_init.detach(), torch.tensor(9.81 + s, dtype=torch.float64)).item() for s in (h, -h)]
    assert abs((slope[0] - slope[1]) / (2 * h)) > 1e-3
    function(x_init, torch.tensor(9.81, dtype=torch.float64)).backward()
    torch.testing.assert_close(system.gravity.grad.item(), (slope[0] - slope[1]) / (2 * h), atol=1e-6, rtol=1e-5)


def test_mistakes_are_named():
    system, Q, p, T, x_init = random_problem(pp, 'LTI')
    with pytest.raises(ValueError, match='T = 4'):
        pp.module.LQR(system, Q, p, 4)
    with pytest.raises(ValueError, match='x_init'):
        pp.module.LQR(system, Q, p, T)(x_init[0])
    with pytest.raises(ValueError, match='dtype'):
        pp.module.LQR(system, Q.float(), p, T)


def test_values_do_not_depend_on_the_batch():
    system, Q, p, T, x_init = random_problem(pp, 'LTI', B=20)
    x, _, _ = pp.module.LQR(system, Q, p, T)(x_init)
    A, B, c = system._A[7:8, None], system._B[7:8, None], system._c1[7:8, None]
    torch.testing.assert_close(solve_lqr(Q[7:8], p[7:8], A, B, c, x_init[7:8], T).x, x[7:8], atol=1e-10, rtol=1e-10)
