"""Robot models and integrators, beside SciPy's integrators and closed forms."""
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from pypose_core.dynamics import (
    Ackermann,
    CartPole,
    Continuous,
    DifferentialDrive,
    Omnidirectional,
    Quadrotor,
    Residual,
    Unicycle,
    euler,
    exact,
    rk4,
)

torch64 = {'dtype': torch.float64}


def integrated(rate, x, span):
    return torch.tensor(solve_ivp(lambda t, y: rate(y), (0, span), x.numpy(), rtol=1e-12, atol=1e-12).y[:, -1])


@pytest.mark.parametrize('w', [0.0, 1e-9, 1.3, -4.0])
def test_unicycle_drives_exact_arcs(w):
    import math
    x, u = torch.tensor([1., 2., 0.4], **torch64), torch.tensor([1.5, w], **torch64)
    expected = integrated(lambda y: [1.5 * math.cos(y[2]), 1.5 * math.sin(y[2]), w], x, 0.7)
    torch.testing.assert_close(Unicycle(0.7).state_transition(x, u), expected, atol=1e-9, rtol=0)


def test_wheels_and_body_velocities_are_the_same_motion():
    x = torch.randn(5, 3, **torch64)
    v, w, radius, track = 0.8, -0.6, 0.05, 0.3
    wheels = torch.tensor([(v - w * track / 2) / radius, (v + w * track / 2) / radius], **torch64)
    driven = DifferentialDrive(0.2, radius, track).state_transition(x, wheels.expand(5, 2))
    torch.testing.assert_close(driven, Unicycle(0.2).state_transition(x, torch.tensor([v, w], **torch64).expand(5, 2)))
    sideways = torch.tensor([v, 0.0, w], **torch64).expand(5, 3)
    torch.testing.assert_close(driven, Omnidirectional(0.2).state_transition(x, sideways))


def test_omnidirectional_motion_is_the_exponential_of_se2():
    u = torch.tensor([0.3, -0.7, 1.1], **torch64)
    hat = torch.tensor([[0, -1.1, 0.3], [1.1, 0, -0.7], [0, 0, 0]], **torch64)
    T = expm(0.5 * hat.numpy())
    moved = Omnidirectional(0.5).state_transition(torch.zeros(3, **torch64), u)
    torch.testing.assert_close(moved, torch.tensor([T[0, 2], T[1, 2], 0.55], **torch64))


@pytest.mark.parametrize('model', [Ackermann(0.1, 2.5), CartPole(0.05)], ids=lambda m: type(m).__name__)
def test_runge_kutta_has_its_order(model):
    torch.manual_seed(0)
    x = torch.randn(4, **torch64)
    u = torch.randn(2 if isinstance(model, Ackermann) else 1, **torch64) * 0.3
    truth = integrated(lambda y: model.rate(torch.tensor(y), u).numpy(), x, model.dt)
    errors = []
    for parts in (1, 2):
        y = x
        for _ in range(parts):
            y = rk4(model.rate, y, u, None, model.dt / parts)
        errors.append(float((y - truth).norm()))
    assert errors[0] < 1e-4 and (errors[1] < errors[0] / 10 or errors[0] < 1e-10)
    torch.testing.assert_close(model.state_transition(x, u), rk4(model.rate, x, u, None, model.dt))
    first = euler(model.rate, x, u, None, 1e-5)
    torch.testing.assert_close((first - x) / 1e-5, model.rate(x, u), atol=1e-8, rtol=1e-8)


def test_the_pole_keeps_its_energy():
    model = CartPole(0.005, length=0.4, cartmass=2.0, polemass=0.7)
    m, l, g = model.polemass, model.length, model.gravity

    def energy(x):
        _, v, a, w = x.unbind(-1)
        pole = 0.5 * m * (v * v + 2 * v * w * l * a.cos() + 4 / 3 * l * l * w * w)   # a uniform rod of length 2 l
        return 0.5 * model.cartmass * v * v + pole + m * g * l * a.cos()
    x = torch.tensor([0.0, 0.3, 0.5, -1.0], **torch64)
    start = energy(x)
    for _ in range(400):
        x = model.state_transition(x, torch.zeros(1, **torch64))
    assert abs(energy(x) - start) < 1e-7


def test_quadrotor_follows_the_rigid_body_and_stays_on_the_group():
    import numpy as np
    inertia = np.array([0.01, 0.012, 0.02])
    model = Quadrotor(0.02, mass=1.3, inertia=torch.tensor(inertia))
    torch.manual_seed(0)
    x = torch.randn(13, **torch64)
    x[3:7] /= x[3:7].norm()
    u = torch.tensor([14.0, 0.02, -0.01, 0.005], **torch64)

    def rate(y):
        q, v, w = y[3:7], y[7:10], y[10:]
        R = Rotation.from_quat(q)
        omega = Rotation.from_quat(q).as_quat()
        dq = 0.5 * np.array([omega[3] * w[0] + omega[1] * w[2] - omega[2] * w[1],
                             omega[3] * w[1] + omega[2] * w[0] - omega[0] * w[2],
                             omega[3] * w[2] + omega[0] * w[1] - omega[1] * w[0], -omega[:3] @ w])
        dv = R.apply([0, 0, 14.0 / 1.3]) - [0, 0, 9.81]
        dw = (u.numpy()[1:] - np.cross(w, inertia * w)) / inertia
        return np.concatenate([v, dq, dv, dw])
    y, truth = x, integrated(rate, x, 0.1)
    for _ in range(5):
        y = model.state_transition(y, u)
    torch.testing.assert_close(y, truth, atol=2e-6, rtol=0)
    assert abs(float(y[3:7].norm()) - 1) < 1e-14
    assert model.set_refpoint(x.expand(6, 13), u.expand(6, 4), 0).A.shape == (6, 13, 13)


def test_exact_discretization_is_the_matrix_exponential():
    torch.manual_seed(0)
    A, B = torch.randn(2, 4, 4, **torch64), torch.randn(2, 4, 2, **torch64)
    Ad, Bd = exact(A, B, 0.3)
    x, u = torch.randn(2, 4, **torch64), torch.randn(2, 2, **torch64)
    for k in range(2):
        expected = integrated(lambda y, k=k: (A[k] @ torch.tensor(y) + B[k] @ u[k]).numpy(), x[k], 0.3)
        torch.testing.assert_close(Ad[k] @ x[k] + Bd[k] @ u[k], expected, atol=1e-9, rtol=0)


def test_time_dependent_rates_see_seconds():
    class Forced(Continuous):
        def rate(self, state, input, t=None):
            return state * 0 + t
    system, x = Forced(0.5), torch.zeros(1, **torch64)
    for _ in range(4):
        x, _ = system(x, torch.zeros(1))
    torch.testing.assert_close(x, torch.tensor([2.0], **torch64))     # integral of t from 0 to 2 s


def test_residual_dynamics_learn_what_the_model_leaves_out():
    torch.manual_seed(0)
    truth, nominal = CartPole(0.1, polemass=2.0), CartPole(0.1, polemass=0.1)
    net = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).double()
    G = torch.tensor([[0, 0], [1, 0], [0, 0], [0, 1]], **torch64)
    model = Residual(nominal, net, G)
    x, u = torch.randn(256, 4, **torch64), torch.randn(256, 1, **torch64)
    y = truth.state_transition(x, u)
    before = (nominal.state_transition(x, u) - y).square().mean()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (model.state_transition(x, u) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < before / 5
    assert model.set_refpoint(x, u, 0).A.shape == (256, 4, 4)
