"""Systems: linear ones, the clock, and linearization, beside PyPose and finite differences."""
import copy
import math
import warnings

import pytest
import torch

from pypose_core.dynamics import LTI, LTV, NLS, System
from pypose_core.dynamics.linearize import _by_copies, _by_rows, _by_vmap, jacobians
from pypose_core.lie.linalg import bmv

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')


def linear(library, *batch, dtype=torch.float64):
    torch.manual_seed(0)
    shapes = (3, 3), (3, 2), (4, 3), (4, 2), (3,), (4,)
    return library(*(torch.randn(*batch, *s, dtype=dtype) for s in shapes))


@pytest.mark.parametrize('batch', [(), (5,), (2, 3)], ids=str)
def test_linear_systems_step_as_pypose_does(batch):
    theirs, ours = linear(pypose.module.LTI, *batch), linear(LTI, *batch)
    x, u = torch.randn(*batch, 3, dtype=torch.float64), torch.randn(*batch, 2, dtype=torch.float64)
    for _ in range(3):
        (a, b), (c, d) = theirs(x, u), ours(x, u)
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, d)
    assert theirs.systime == ours.systime == 3


def test_a_time_varying_system_uses_the_matrices_of_its_step():
    A = torch.randn(2, 4, 3, 3)
    B, C, D = torch.randn(2, 4, 3, 2), torch.eye(3).expand(2, 4, 3, 3), torch.zeros(2, 4, 3, 2)
    system, x = LTV(A, B, C, D), torch.randn(2, 3)
    for k in range(4):
        u = torch.randn(2, 2)
        expected = bmv(A[:, k], x) + bmv(B[:, k], u)
        x, _ = system(x, u)
        torch.testing.assert_close(x, expected)
    with pytest.raises(IndexError, match='4 steps'):
        system(x, u)
    assert system.set_refpoint(t=1).systime == 1
    torch.testing.assert_close(system.A, A[:, 1])


def test_a_subclass_may_override_the_matrices_by_the_clock():
    def periodic(base):
        class Periodic(base):
            @property
            def A(self):
                return self._A[..., self._t % 3, :, :]

            @property
            def B(self):
                return torch.eye(4, 2) * self._t.cos()

            @property
            def C(self):
                return torch.eye(4)

            @property
            def D(self):
                return torch.zeros(4, 2)
        return Periodic
    A, x = torch.randn(3, 4, 4), torch.randn(4)
    theirs, ours = periodic(pypose.module.LTV)(A), periodic(LTV)(A)
    for _ in range(5):
        u = torch.randn(2)
        torch.testing.assert_close(theirs(x, u), ours(x, u))


def floquet(base):
    class Floquet(base):
        calls = 0

        def state_transition(self, state, input, t):
            Floquet.calls += 1
            cc, ss = (2 * math.pi * t / 100).cos(), (2 * math.pi * t / 100).sin()
            A = torch.tensor([[1., cc / 10], [cc / 10, 1.]])
            return bmv(A, state) + bmv(torch.tensor([[ss], [1.]]), input)

        def observation(self, state, input, t):
            return state + t
    return Floquet


def test_pypose_documented_example_gives_its_documented_numbers():
    step, current = 8, torch.tensor([1., 1.])
    input = torch.tensor(2 * math.pi / 50 * step).sin()
    system = floquet(NLS)().reset(t=step)
    following, observation = system(current, input)
    system.set_refpoint()
    expected = (([1.4944, 1.9320], following), ([9., 9.], observation), ([[1., 0.0844], [0.0844, 1.]], system.A),
                ([[0.5358], [1.]], system.B))
    for value, got in expected:
        torch.testing.assert_close(got, torch.tensor(value), atol=1e-4, rtol=0)
    theirs = floquet(pypose.module.NLS)().reset(t=step)
    theirs(current, input)
    theirs.set_refpoint()
    for name in ('A', 'B', 'C', 'D', 'c1', 'c2'):
        torch.testing.assert_close(getattr(theirs, name), getattr(system, name))


def test_the_linearization_is_computed_once_for_a_reference_point():
    system = floquet(NLS)()
    state, input = torch.tensor([1., 2.]), torch.tensor([0.5])
    assert system.set_refpoint(state, input, torch.tensor(3)).A.shape == (2, 2)
    counted = type(system)
    system.set_refpoint(state, input, torch.tensor(4))
    counted.calls = 0
    A = system.A
    assert counted.calls == 1
    assert system.A is A and system.B is not None and system.c1 is not None
    assert counted.calls == 1


class Pendulum(NLS):
    """Rows of any leading dimensions."""

    def state_transition(self, state, input, t=None):
        angle, rate = state.unbind(-1)
        return torch.stack([angle + 0.1 * rate, rate + 0.1 * (input[..., 0] - 9.81 * angle.sin())], -1)

    def observation(self, state, input, t=None):
        return torch.cat([state.sin(), input * state[..., :1]], -1)


class Squeezed(Pendulum):
    """Written for one state of shape (1, 2), as in PyPose's own example of MPC."""

    def state_transition(self, state, input, t=None):
        angle, rate = state.squeeze()
        return torch.stack([angle + 0.1 * rate, rate + 0.1 * (input.squeeze() - 9.81 * angle.sin())]).unsqueeze(0)


class Timed(Pendulum):
    """Makes a tensor of numbers out of the time, which no batch of times allows."""

    def state_transition(self, state, input, t=None):
        return super().state_transition(state, input) * torch.tensor([1.0, 1 + float(t)])


class Swapping(NLS):
    """Indexes the first dimension: right for one state (2,), and wrong without an error for a batch."""

    def state_transition(self, state, input, t=None):
        return torch.stack([state[1] * state[0], state[0]])

    def observation(self, state, input, t=None):
        return state


@pytest.mark.parametrize('system, shape, form', [(Pendulum, (3,), _by_copies), (Squeezed, (1,), _by_vmap),
                                                 (Timed, (3,), _by_rows)])
def test_each_form_of_the_jacobian_agrees_with_finite_differences(system, shape, form):
    torch.manual_seed(0)
    model, T = system(), 4
    x, u = torch.randn(T, *shape, 2, dtype=torch.float64), torch.randn(T, *shape, 1, dtype=torch.float64)
    t, forms = torch.arange(T), {}
    y, A, B = jacobians(model.state_transition, forms, x, u, t, stages=True)
    assert next(iter(forms.values()))[0] is form
    for k in range(T):
        torch.testing.assert_close(y[k], model.state_transition(x[k], u[k], t[k]))
        for J, z, place in ((A, x, 0), (B, u, 1)):
            for i in range(z.shape[-1]):
                d = torch.zeros_like(z[k])
                d[..., i] = 1e-6
                plus, minus = ((x[k] + s * d, u[k]) if place == 0 else (x[k], u[k] + s * d) for s in (1, -1))
                slope = (model.state_transition(*plus, t[k]) - model.state_transition(*minus, t[k])) / 2e-6
                torch.testing.assert_close(J[k][..., i], slope, atol=1e-8, rtol=1e-7)


def test_a_function_that_indexes_states_is_not_batched_even_where_values_would_agree():
    system = Swapping()
    zero = torch.zeros(2, dtype=torch.float64)
    A = system.set_refpoint(zero, torch.zeros(1, dtype=torch.float64), 0).A
    torch.testing.assert_close(A, torch.tensor([[0., 0.], [1., 0.]], dtype=torch.float64))


@pytest.mark.parametrize('batch', [(), (1,), (5,), (2, 3)], ids=str)
def test_linearization_is_batched_and_true_to_first_order(batch):
    torch.manual_seed(1)
    x, u = torch.randn(*batch, 2, dtype=torch.float64), torch.randn(*batch, 1, dtype=torch.float64)
    system = Pendulum().set_refpoint(x, u, 0)
    assert system.A.shape == (*batch, 2, 2) and system.D.shape == (*batch, 3, 1)
    dx, du = 1e-6 * torch.randn_like(x), 1e-6 * torch.randn_like(u)
    linear = bmv(system.A, x + dx) + bmv(system.B, u + du) + system.c1
    torch.testing.assert_close(linear, system.state_transition(x + dx, u + du), atol=1e-11, rtol=0)
    linear = bmv(system.C, x + dx) + bmv(system.D, u + du) + system.c2
    torch.testing.assert_close(linear, system.observation(x + dx, u + du), atol=1e-11, rtol=0)


def test_the_linearization_is_differentiable_by_parameters():
    class Scaled(Pendulum):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def state_transition(self, state, input, t=None):
            return self.scale * super().state_transition(state, input, t)
    system, x = Scaled(), torch.randn(3, 2, dtype=torch.float64)
    A = system.set_refpoint(x, torch.zeros(3, 1, dtype=torch.float64), 0).A
    A.sum().backward()
    torch.testing.assert_close(system.scale.grad, A.detach().sum() / 2)


def test_the_clock_survives_graphs_copies_and_state_dicts():
    class Growing(Pendulum):
        def state_transition(self, state, input, t=None):
            return state * t
    system, x = Growing().reset(2), torch.ones(2, requires_grad=True)
    y, _ = system(x, torch.zeros(1))
    y.sum().backward()      # the time that the graph saved is still 2
    assert x.grad.tolist() == [2., 2.] and system.systime == 3
    copied = copy.deepcopy(system)
    copied(x, torch.zeros(1))
    assert copied.systime == 4 and system.systime == 3
    fresh = Growing()
    fresh.load_state_dict(system.state_dict())
    assert fresh.systime == 3
    fresh.systime = 7
    assert fresh.systime == 7


def test_a_system_without_functions_says_what_is_missing():
    with pytest.raises(NotImplementedError, match='state_transition'):
        System()(torch.zeros(1), torch.zeros(1))
