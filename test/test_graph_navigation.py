"""The native kernels of factors on navigation states against their definition in torch."""

import pytest
import torch
from exact_solver import EXACT

from pypose_core import native
from pypose_core.graph import NAV_STATE, FactorGraph, Imu, Prior, SolverLayer
from pypose_core.graph.curvature import Curvature, Input, _BentStates
from pypose_core.inertial import ImuNoise, preintegrate

f64 = torch.float64
pytestmark = pytest.mark.skipif(not native.available, reason='the native kernels are not built')


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


def made(*, held=False):
    """Four states with inertial factors in a ring and priors, far from exact: residuals that bend."""
    graph = FactorGraph()
    identity = torch.tensor(NAV_STATE.identity, dtype=f64).expand(4, -1)
    states = NAV_STATE.retract(identity, 0.2 * randn(4, 15, seed=1))
    graph.add_variables('state', NAV_STATE, states)
    row = preintegrate(torch.tensor(0.1, dtype=f64), 0.5 * randn(4, 6, 3, seed=2), 0.5 * randn(4, 6, 3, seed=3),
                       noise=ImuNoise(1e-1, 1e-1, 1e-1, 1e-1)).row()
    spread = 0.3 * randn(4, 15, 15, seed=6)
    imu = graph.add(Imu('state', torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]]), row, torch.tensor([0.1, 0.2, -0.8]),
                        information=torch.eye(15, dtype=f64) + spread @ spread.mT, weight=0.5 + torch.arange(4) / 4))
    measured = NAV_STATE.retract(states, 0.1 * randn(4, 15, seed=4))
    prior = graph.add(Prior('state', torch.arange(4), measured, information=10 * torch.eye(15)))
    if held:
        graph.fix('state', [2])
    return graph, imu, prior


@pytest.mark.parametrize('which', [1, 2])
def test_jacobians_are_those_of_the_definition(which):
    graph, *both = made()
    graph.problem()
    factors = both[which - 1]
    x = [randn(len(factors), 16, seed=5 + k) for k in range(len(factors.variables))]
    for state in x:
        state[:, 3:7] /= state[:, 3:7].norm(dim=1, keepdim=True)
    r, J = factors.jacobians(x, factors.data)
    found, native_J = factors.unwhitened(x, jacobian=True)
    torch.testing.assert_close(found, r, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(native_J, torch.cat(J, -1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(factors.unwhitened(x, jacobian=False)[0], r, rtol=1e-12, atol=1e-12)


def test_steps_are_those_of_the_group():
    graph, *_ = made(held=True)
    problem, step = graph.problem(), randn(45, seed=7)
    found = problem.retract(graph.values, step)['state']
    wanted = NAV_STATE.retract(graph.values['state'], problem.split(step)['state'])
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize('held', [False, True])
def test_second_derivatives_at_a_minimum_are_those_of_the_tape(held, monkeypatch):
    graph, imu, prior = made(held=held)
    values = dict(EXACT.run(graph.problem(), graph.values).value)
    problem = graph.problem()
    inputs = [Input(imu, 'preintegrated', imu.data['preintegrated']), Input(imu, 'gravity', imu.data['gravity']),
              Input(imu, 'information', imu.information), Input(imu, 'weight', imu.weight),
              Input(prior, 'measured', prior.measured), Input(prior, 'information', prior.information)]
    v = randn(problem.dimension, seed=8)
    kernels = Curvature(problem, values, inputs)
    assert kernels._taped is None
    monkeypatch.setattr(_BentStates, 'knows', staticmethod(lambda factors: False))
    tape = Curvature(problem, values, inputs)
    torch.testing.assert_close(kernels.multiply(v), tape.multiply(v), rtol=1e-8, atol=1e-8)
    gauss_newton = problem.solver.factorize(problem.linearize(values)[2])
    assert (gauss_newton.solve(kernels.multiply(v)) - v).norm() > 1e-2 * v.norm()      # they do bend
    for one, mine, wanted in zip(inputs, kernels.by_inputs(v), tape.by_inputs(v)):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9, msg=lambda text, one=one: f'{one.name}: {text}')


def test_gradients_of_a_network_do_not_depend_on_the_kernels(monkeypatch):
    def gradient():
        graph, imu, prior = made()
        row, measured = (x.clone().requires_grad_() for x in (imu.data['preintegrated'], prior.data['measured']))
        layer = SolverLayer(graph, [(imu, 'preintegrated'), (prior, 'measured')], solver=EXACT, tolerance=1e-10)
        return torch.autograd.grad(layer(row, measured)['state'][:, :3].square().sum(), (row, measured))

    fast = gradient()
    monkeypatch.setattr(native, 'available', False)
    monkeypatch.setattr(_BentStates, 'knows', staticmethod(lambda factors: False))
    for mine, wanted in zip(fast, gradient()):
        torch.testing.assert_close(mine, wanted, rtol=1e-7, atol=1e-8)
