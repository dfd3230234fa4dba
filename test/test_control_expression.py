"""Traced functions: the native tapes compute what torch does, derivatives included."""
import pytest
import torch
from control_problems import START, STOPPED, TRACKING, f64, spacecraft, tracking

from pypose_core.control.expression import Graph, jacobian, needed
from pypose_core.control.ocp import OCP
from pypose_core.control.problem import Cost, LeastSquares, StageConstraint
from pypose_core.control.tape import compile_tape
from pypose_core.control.traced import Untraceable
from pypose_core.dynamics import Ackermann, CartPole, DifferentialDrive, Omnidirectional, Unicycle

SMOOTH = {
    'trigonometric': lambda x, u: torch.stack([torch.sin(x[..., 0]) * torch.cos(u[..., 0]),
                                               torch.tan(0.3 * x[..., 1])], -1),
    'exponential': lambda x, u: torch.stack([torch.exp(0.2 * x[..., 0]) / (1 + u[..., 0] ** 2),
                                             torch.log(2 + x[..., 1] ** 2) * torch.tanh(u[..., 0])], -1),
    'roots': lambda x, u: torch.stack([torch.sqrt(1 + x[..., 0] ** 2),
                                       (x[..., 1] ** 2 + 1) ** -1.5 + u[..., 0] ** 3], -1),
    'angles': lambda x, u: torch.stack([torch.atan2(x[..., 0], 2 + u[..., 0] ** 2),
                                        torch.atan(x[..., 1]) - x[..., 0]], -1),
    'branches': lambda x, u: torch.stack([torch.where(x[..., 0] > 0.1, x[..., 0] * u[..., 0], x[..., 1]),
                                          torch.maximum(x[..., 1], u[..., 0]) + torch.abs(x[..., 0])], -1),
    'matrices': lambda x, u: x @ f64([[0.9, 0.1], [-0.2, 0.8]]) + torch.nn.functional.linear(u, f64([[0.3], [0.7]])),
    'norms': lambda x, u: torch.cat([torch.linalg.norm(x + 3, dim=-1, keepdim=True), (x * x).sum(-1, keepdim=True)
                                     + torch.clamp(u, -0.4, 0.4)], -1),
}
SMOOTH |= {
    'inverse sines': lambda x, u: torch.stack([torch.asin(0.2 * x[..., 0]) + torch.sinh(u[..., 0]),
                                               torch.acos(0.1 * x[..., 1]) * torch.cosh(0.5 * x[..., 0])], -1),
    'activations': lambda x, u: torch.nn.functional.softplus(x) + torch.nn.functional.silu(u)
    + torch.nn.functional.elu(3 * x) * torch.nn.functional.leaky_relu(x, 0.1) + torch.sign(u) * x,
    'parts': lambda x, u: torch.cat([torch.cat(torch.split(x * x, 1, -1)[::-1], -1).chunk(2, -1)[1] + u,
                                     torch.rsqrt(1 + x[..., :1] ** 2) * u.expand_as(u)], -1),
    'sinc': lambda x, u: torch.sinc(x * torch.where(x > 0.0, 1.0, 1e-3)) + u,
}


def problem(dynamics, backend, hessian='gauss_newton'):
    return OCP(lambda x, u, p: dynamics(x, u), state=2, control=1, horizon=11, backend=backend, hessian=hessian,
               stage_cost=Cost(lambda x, u, p: (dynamics(x, u) ** 2).sum(-1) + torch.exp(0.1 * x[..., 0] * u[..., 0])),
               terminal_cost=LeastSquares(lambda x, p: dynamics(x, 0.5 * x[..., :1])),
               constraints=[StageConstraint('row', lambda x, u, p: dynamics(x, u) * u, upper=1.0)])


def close(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-11, atol=1e-11, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('name', SMOOTH)
def test_tapes_give_the_values_and_derivatives_of_torch(name):
    torch.manual_seed(0)
    X, U = torch.randn(12, 2).double(), torch.randn(11, 1).double()
    native, reference = (problem(SMOOTH[name], backend) for backend in ('native', 'torch'))
    close(native.record(X, U), reference.record(X, U))


def test_angles_of_any_size_have_their_sine():
    angles = torch.cat([torch.linspace(-1e3, 1e3, 5001), torch.tensor([0.0, 1e-9, 99999.0, 1e6, 1e9])]).double()
    ocp = OCP(lambda x, u, p: torch.stack([torch.sin(x[..., 0]) + u[..., 0], torch.cos(x[..., 0])], -1),
              state=2, control=1, horizon=len(angles) - 1, stage_cost=LeastSquares(lambda x, u, p: u),
              terminal_cost=LeastSquares(lambda x, p: x))
    found = ocp.record(angles[:, None].repeat(1, 2), torch.zeros(len(angles) - 1, 1).double())['c']
    expected = torch.stack([angles[:-1].sin(), angles[:-1].cos()], -1) - angles[1:, None]
    assert (found - expected).abs().max() <= 2 * torch.finfo(torch.float64).eps * 1e9
    near = angles[:-1].abs() < 1e3
    both = near & (angles[1:].abs() <= 1e3)
    assert (found - expected)[both].abs().max() < 5e-13


@pytest.mark.parametrize('make', [tracking, spacecraft])
def test_records_on_rates_and_rotations_agree_with_torch(make):
    torch.manual_seed(1)
    native, reference = make(backend='native'), make(backend='torch')
    X = torch.randn(native.horizon + 1, native.space.size).double()
    if native.space.rotations:
        X = X / X.norm(dim=-1, keepdim=True)
    U = torch.randn(native.horizon, native.control).double()
    parameters = {name: value for name, value in TRACKING.items() if name in native.shapes}
    close(native.record(X, U, parameters), reference.record(X, U, parameters))


def test_the_exact_hessian_of_the_cost_alone_without_multipliers():
    torch.manual_seed(2)
    X, U = torch.randn(12, 2).double(), torch.randn(11, 1).double()
    native, reference = (problem(SMOOTH['exponential'], b, 'exact') for b in ('native', 'torch'))
    close(native.record(X, U), reference.record(X, U))


@pytest.mark.parametrize('model, state, control', [
    (Unicycle(0.1), 3, 2), (DifferentialDrive(0.1, 0.05, 0.3), 3, 2), (Omnidirectional(0.1), 3, 3),
    (Ackermann(0.1, 0.5), 4, 2), (CartPole(0.05), 4, 1)], ids=lambda m: type(m).__name__)
def test_the_models_of_the_library_are_traced_and_right_at_rest(model, state, control):
    ocp, reference = (OCP(lambda x, u, p: model.state_transition(x, u), state=state, control=control, horizon=5,
                          stage_cost=LeastSquares(lambda x, u, p: torch.cat([x, u], -1)), backend=backend,
                          terminal_cost=LeastSquares(lambda x, p: x)) for backend in ('native', 'torch'))
    torch.manual_seed(5)
    X, U = torch.randn(6, state).double(), torch.randn(5, control).double()
    X[0], U[0], U[1] = 0, 0, 1e-5
    close(ocp.record(X, U), reference.record(X, U))


def test_equal_expressions_are_one_node_and_zeros_vanish():
    graph = Graph()
    x, y = graph.input(0), graph.input(1)
    assert (x * y + 1).index == (1 + y * x).index
    assert graph.value((x - x).index) == 0 and graph.value((0 * y).index) == 0 and (x + 0).index == x.index
    assert (-1 * (-x)).index == x.index and (2 * (3 * x)).index == (6 * x).index
    (row,) = jacobian(graph, [(3 * x + y * y).index], [x.index, y.index])
    assert graph.value(row[0]) == 3 and set(row) == {0, 1}


def test_registers_are_used_again():
    graph = Graph()
    x = graph.input(0)
    y = x
    for i in range(100):
        y = y * y + float(i + 2)
    tape = compile_tape(graph, {0: y.index})
    assert len(needed(graph, [y.index])) > 200
    assert tape.registers - len(tape.constants) <= 4


@pytest.mark.parametrize('dynamics, reason', [
    (lambda x, u, p: x if x[..., 0] > 0 else u, 'branch'),
    (lambda x, u, p: torch.special.bessel_j0(x), 'bessel'),
    (lambda x, u, p: x * torch.nn.Parameter(torch.ones(3).double()), 'gradients'),
], ids=['branch', 'unknown function', 'learned weight'])
def test_what_cannot_be_traced_says_why(dynamics, reason):
    with pytest.raises(Untraceable, match=reason):
        tracking(dynamics=dynamics, backend='native')


def test_a_function_with_learned_weights_is_left_to_torch():
    residual = torch.nn.Linear(3, 3).double()
    with torch.no_grad():
        residual.weight.mul_(0.01)
        residual.bias.zero_()
    from control_problems import unicycle
    ocp = tracking(dynamics=lambda x, u, p: unicycle(x, u, p) + residual(x))
    assert not ocp.native and 'gradients' in ocp.reason
    assert ocp.solve(START, u_prev=STOPPED, parameters=TRACKING, start='roll').converged
