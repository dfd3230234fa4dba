"""Closed-form Jacobians of every factor against central differences of its residual along each perturbation."""
import pytest
import torch

from pypose_core.graph import (
    NAV_STATE,
    SE2,
    SE3,
    SE23_BIAS,
    SIM3,
    BalReprojection,
    Bearing,
    Between,
    Euclidean,
    FactorGraph,
    FrameBetween,
    FramePrior,
    Gnss,
    Imu,
    Landmark,
    Prior,
    Range,
    Reprojection,
    Residual,
)
from pypose_core.inertial import ImuNoise, preintegrate

f64 = torch.float64
R1, R2, R3 = (Euclidean(n) for n in (1, 2, 3))
COUNT = 6


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


def values(group, seed, scale=0.7):
    identity = torch.tensor(group.identity, dtype=f64).expand(COUNT, -1)
    return group.retract(identity, scale * randn(COUNT, group.dof, seed=seed))


def imu():
    noise = ImuNoise(1e-3, 1e-2, 1e-4, 1e-3)
    gyro, accel = randn(COUNT, 20, 3, seed=1), randn(COUNT, 20, 3, seed=2) + torch.tensor([0, 0, 9.81], dtype=f64)
    return preintegrate(torch.tensor(0.01, dtype=f64), gyro, accel, noise=noise, bias=0.1 * randn(COUNT, 6, seed=3))


G = torch.tensor([0.3, 0.2, -9.81], dtype=f64)
PIXEL = torch.tensor([500., 480., 320., 240.], dtype=f64)
INDEX = torch.stack([torch.arange(COUNT), (torch.arange(COUNT) + 1) % COUNT], 1)


def before(camera):
    """Points on the far side of the image, from z = 2 on."""
    return torch.cat([randn(COUNT, 2, seed=8), camera * (2 + randn(COUNT, 1, seed=9).abs())], 1)


def seen(kind, pose, point, measured, **more):
    return (pose, point), lambda: kind(('a', 'b'), INDEX, measured, **more)


CASES = {
    'frame prior': ((NAV_STATE,), lambda: FramePrior('a', INDEX[:, 0], values(SE3, 5), frame=values(SE3, 6))),
    'frame between': ((NAV_STATE,), lambda: FrameBetween('a', INDEX, values(SE3, 5), frame=values(SE3, 6)[0])),
    'prior Sim3': ((SIM3,), lambda: Prior('a', INDEX[:, 0], values(SIM3, 5))),
    'prior NavState': ((NAV_STATE,), lambda: Prior('a', INDEX[:, 0], values(NAV_STATE, 5))),
    'prior SE3': ((SE3,), lambda: Prior('a', INDEX[:, 0], values(SE3, 5))),
    'between Sim3': ((SIM3,), lambda: Between('a', INDEX, values(SIM3, 5))),
    'between SE3': ((SE3,), lambda: Between('a', INDEX, values(SE3, 5))),
    'between SE2': ((SE2,), lambda: Between('a', INDEX, values(SE2, 5))),
    'between NavState': ((NAV_STATE,), lambda: Between('a', INDEX, values(NAV_STATE, 5))),
    'prior SE_2(3)+bias': ((SE23_BIAS,), lambda: Prior('a', INDEX[:, 0], values(SE23_BIAS, 5))),
    'between SE_2(3)+bias': ((SE23_BIAS,), lambda: Between('a', INDEX, values(SE23_BIAS, 5))),
    'between R3': ((R3,), lambda: Between('a', INDEX, values(R3, 5))),
    'landmark SE2': seen(Landmark, SE2, R2, randn(COUNT, 2, seed=5)),
    'landmark SE3': seen(Landmark, SE3, R3, randn(COUNT, 3, seed=5)),
    'landmark NavState': seen(Landmark, NAV_STATE, R3, randn(COUNT, 3, seed=5)),
    'landmark SE2 by a sensor': seen(Landmark, SE2, R2, randn(COUNT, 2, seed=5), sensor=values(SE2, 6)),
    'landmark SE3 by a sensor': seen(Landmark, SE3, R3, randn(COUNT, 3, seed=5), sensor=values(SE3, 6)[0]),
    'range SE2': seen(Range, SE2, R2, randn(COUNT, 1, seed=5)),
    'range SE3': seen(Range, SE3, R3, randn(COUNT, 1, seed=5), sensor=values(SE3, 6)),
    'range to a pose': seen(Range, SE3, NAV_STATE, randn(COUNT, 1, seed=5)),
    'bearing SE2': seen(Bearing, SE2, R2, randn(COUNT, 1, seed=5)),
    'bearing SE3': seen(Bearing, SE3, R3, randn(COUNT, 3, seed=5)),
    'bearing to a pose': seen(Bearing, SE2, SE2, randn(COUNT, 1, seed=5)),
    'gnss SE3': ((SE3,), lambda: Gnss('a', INDEX[:, 0], randn(COUNT, 3, seed=5))),
    'gnss SE2 with lever arm': ((SE2,), lambda: Gnss('a', INDEX[:, 0], randn(COUNT, 2, seed=5), lever_arm=randn(2))),
    'gnss SE3 with lever arm': ((SE3,), lambda: Gnss('a', INDEX[:, 0], randn(COUNT, 3, seed=5), lever_arm=randn(3))),
    'gnss NavState with lever arm': ((NAV_STATE,), lambda: Gnss('a', INDEX[:, 0], randn(COUNT, 3, seed=5),
                                                                lever_arm=randn(COUNT, 3, seed=6))),
    'gnss SE_2(3)+bias': ((SE23_BIAS,), lambda: Gnss('a', INDEX[:, 0], randn(COUNT, 3, seed=5),
                                                     lever_arm=randn(3))),
    'gnss R3': ((R3,), lambda: Gnss('a', INDEX[:, 0], randn(COUNT, 3, seed=5))),
    'imu': ((NAV_STATE,), lambda: Imu('a', INDEX, imu(), G)),
    'imu in SE_2(3)': ((SE23_BIAS,), lambda: Imu('a', INDEX, imu(), G)),
    'reprojection': seen(Reprojection, SE3, R3, 100 * randn(COUNT, 2, seed=5), calibration=PIXEL),
    'reprojection by a sensor': seen(Reprojection, NAV_STATE, R3, 100 * randn(COUNT, 2, seed=5), calibration=PIXEL,
                                     sensor=values(SE3, 6, 0.1)),
    'bal': ((SE3, R3, R3), lambda: BalReprojection(('a', 'b', 'c'), INDEX[:, [0, 1, 0]],
                                                   100 * randn(COUNT, 2, seed=5))),
    'residual of the user': ((SE2, R2), lambda: Residual(lambda X, p: torch.cat([X[:1] * p, X[2:3] + p[1:] ** 3]),
                                                         ('a', 'b'), INDEX)),
}


def graph_of(groups, make):
    graph = FactorGraph()
    for k, (name, group) in enumerate(zip('abc', groups)):
        X = values(group, 10 + k, 0.3)
        if 'R3' in group.name and k:
            X = before(-1 if len(groups) == 3 else 1) if k == len(groups) - 1 else torch.tensor(
                [[500., 0.1, -0.02]], dtype=f64) + 0.01 * X
        graph.add_variables(name, group, X)
    return graph, graph.add(make())


@pytest.mark.parametrize('case', CASES)
def test_jacobians_equal_central_differences(case):
    graph, factors = graph_of(*CASES[case])
    x = factors.at(graph.values)
    r, jacobians = factors.jacobians(x, factors.data)
    torch.testing.assert_close(r, factors.residual(x, factors.data))
    assert r.shape == (COUNT, factors.residual_size) and len(jacobians) == len(x)
    step = 1e-6
    for k, (group, J) in enumerate(zip(factors.groups, jacobians)):
        assert J.shape == (COUNT, r.shape[1], group.dof)
        for column in range(group.dof):
            d = torch.zeros(group.dof, dtype=f64)
            d[column] = step
            up, down = (factors.residual([*x[:k], group.retract(x[k], sign * d), *x[k + 1:]], factors.data)
                        for sign in (1, -1))
            scale = max(1.0, float(J.abs().max()))
            torch.testing.assert_close(J[..., column] / scale, (up - down) / (2 * step * scale), rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize('case', CASES)
def test_normal_equations_are_those_of_the_jacobians(case):
    """Gradient and Hessian of the graph against J' Omega r and J' Omega J put together densely."""
    groups, make = CASES[case]
    graph, factors = graph_of(groups, make)
    if case != 'imu':
        A = randn(COUNT, factors.residual_size, factors.residual_size, seed=7)
        factors.set_information((A @ A.mT + torch.eye(factors.residual_size, dtype=f64)).contiguous())
    graph.fix('a', [2])
    problem = graph.problem()
    cost, chi2, H, g = problem.linearize(graph.values)
    r, jacobians = factors.jacobians(factors.at(graph.values), factors.data)
    J = torch.zeros(COUNT, r.shape[1], problem.dimension, dtype=f64)
    for k, (name, group, part) in enumerate(zip(factors.variables, factors.groups, jacobians)):
        for m, column in enumerate(problem.column[name][factors.index[:, k]].tolist()):
            if column >= 0:
                J[m, :, column:column + group.dof] += part[m]
    scale = float(H.to_dense().abs().max())
    expected = (J.mT @ factors.information @ J).sum(0)
    torch.testing.assert_close(H.to_dense() / scale, expected / scale, rtol=1e-9, atol=1e-10)
    scale = float(g.abs().max())
    torch.testing.assert_close(g / scale, (J.mT @ factors.information @ r[..., None]).sum(0)[:, 0] / scale, rtol=1e-8,
                               atol=1e-9)
    expected = float((r[:, None] @ factors.information @ r[..., None]).sum())
    assert chi2 == pytest.approx(expected) and float(factors.squared(graph.values).sum()) == pytest.approx(expected)


@pytest.mark.parametrize('angle', [0., 1e-9, 1e-4, 9e-4, 1.1e-3, 0.5, 3.0])
def test_bearing_in_space_is_the_angle_and_smooth_near_zero(angle):
    graph = FactorGraph()
    graph.add_variables('a', SE3, torch.tensor([SE3.identity], dtype=f64))
    u = 3 * torch.tensor([[angle, 0, 0]], dtype=f64).sin()
    u[0, 2] = 3 * torch.tensor(angle, dtype=f64).cos()
    graph.add_variables('b', R3, u)
    factor = graph.add(Bearing(('a', 'b'), torch.tensor([[0, 0]]), torch.tensor([0., 0., 2.])))
    x = factor.at(graph.values)
    r, (_, J) = factor.jacobians(x, factor.data)
    assert float(r.norm()) == pytest.approx(angle, rel=1e-9, abs=1e-15)
    for column in range(3):
        d = torch.zeros(3, dtype=f64)
        d[column] = 1e-6
        difference = factor.residual([x[0], x[1] + d], factor.data) - factor.residual([x[0], x[1] - d], factor.data)
        torch.testing.assert_close(J[0, :, column], difference[0] / 2e-6, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize('make, sentence', [
    (lambda: Landmark(('a', 'c'), torch.tensor([[0, 0]]), torch.zeros(2)), 'of the same space'),
    (lambda: Imu('a', INDEX, imu(), G), 'NAV_STATE'),
    (lambda: Gnss('c', torch.tensor([0]), torch.zeros(3), lever_arm=torch.ones(3)), 'cannot be on variables'),
    (lambda: BalReprojection(('a', 'b', 'b'), torch.tensor([[0, 0, 1]]), torch.zeros(2)), 'BalReprojection'),
    (lambda: Range(('a', 'b'), torch.tensor([[0, 0]]), torch.zeros(3)), 'measured must have shape'),
    (lambda: Bearing(('a', 'b'), torch.tensor([[0, 0]]), torch.tensor([float('nan')])), 'measured 0 is not finite'),
])
def test_factors_that_do_not_fit_are_refused(make, sentence):
    graph = FactorGraph()
    graph.add_variables('a', SE2, values(SE2, 0))
    graph.add_variables('b', R2, values(R2, 0))
    graph.add_variables('c', R3, values(R3, 0))
    with pytest.raises(ValueError, match=sentence):
        graph.add(make())
