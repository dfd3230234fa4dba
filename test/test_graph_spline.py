"""Splines as variables: the curve is the library's own, and measurements at any times determine it."""
import pytest
import torch

import pypose_core as pp
from pypose_core.geometry import BSpline
from pypose_core.graph import FactorGraph, SplineTrajectory
from pypose_core.graph.spline_trajectory import curve

f64 = {'dtype': torch.float64}
INTERVAL = 0.3


def truth(N=9):
    torch.manual_seed(0)
    steps = pp.se3(torch.tensor([0.3, 0.0, 0.05, 0.1, -0.05, 0.15], **f64) + 0.15 * torch.randn(N, 6, **f64))
    return steps.Exp().cumprod(0, left=False)


def test_the_curve_is_the_spline_of_the_library():
    controls = truth()
    spline = BSpline(controls, INTERVAL)
    t = torch.rand(20, **f64) * (len(controls) - 3) * INTERVAL
    segment = (t / INTERVAL).floor().long()
    four = tuple(controls.tensor()[segment + k] for k in range(4))
    found = curve(four, (t / INTERVAL - segment)[:, None], INTERVAL)
    for a, b in zip(found, spline.derivatives(t)):
        torch.testing.assert_close(*(torch.Tensor(z.tensor()) if isinstance(z, pp.LieTensor) else z for z in (a, b)),
                                   atol=1e-10, rtol=1e-10)


def measured(controls):
    """Poses at 2 Hz, positions of an antenna, and an IMU at 40 Hz with biases: exact."""
    spline = BSpline(controls, INTERVAL)
    end = (len(controls) - 3) * INTERVAL
    slow, fast = torch.linspace(0, end, 6, **f64), torch.linspace(0, end, 60, **f64)
    T, v, _ = spline.derivatives(fast)
    h = 1e-4
    inner = fast.clamp(h, end - h)
    p = [spline(inner + s).translation() for s in (-h, 0.0, h)]
    acceleration = (p[0] - 2 * p[1] + p[2]) / h ** 2                 # of the curve, not by the formula under test
    bias = torch.tensor([0.02, -0.01, 0.03], **f64), torch.tensor([0.1, 0.2, -0.1], **f64)
    R = spline(inner).rotation()
    forces = R.Inv() @ (acceleration + torch.tensor([0, 0, 9.80665], **f64)) + bias[1]
    arm = torch.tensor([0.1, 0.0, 0.2], **f64)
    return slow, spline(slow), inner, spline.velocity(inner)[:, 3:] + bias[0], forces, spline(slow) @ arm, arm, bias


@pytest.mark.parametrize('by', ['poses', 'positions and IMU'])
def test_measurements_between_the_knots_determine_the_curve_and_the_biases(by):
    controls = truth()
    slow, poses, fast, rates, forces, antenna, arm, bias = measured(controls)
    graph = FactorGraph()
    guess = controls @ (pp.se3(0.05 * torch.randn(len(controls), 6, **f64))).Exp()
    trajectory = SplineTrajectory(graph, guess.tensor(), INTERVAL)
    assert abs(trajectory.duration - 6 * INTERVAL) < 1e-12
    if by == 'poses':
        dense = torch.linspace(0, trajectory.duration, 25, **f64)
        trajectory.add_poses(dense, BSpline(controls, INTERVAL)(dense).tensor())
    else:
        trajectory.add_positions(slow, antenna, arm, information=1e4 * torch.eye(3))
        trajectory.add_gyroscope(fast, rates, bias='gyroscope bias', information=1e4 * torch.eye(3))
        trajectory.add_accelerometer(fast, forces, bias='accelerometer bias', information=1e2 * torch.eye(3))
        trajectory.add_poses(slow[:1], poses.tensor()[:1], information=1e4 * torch.eye(6))
    result = graph.optimize()
    assert result.status.ok and result.stats.chi2 < 1e-3, str(result)
    t = torch.linspace(0, trajectory.duration, 40, **f64)
    error = (trajectory.spline(t).Inv() @ BSpline(controls, INTERVAL)(t)).Log().tensor()
    assert error.abs().max() < 1e-4
    if by != 'poses':
        for name, b in zip(('gyroscope bias', 'accelerometer bias'), bias):
            assert (result.value[name][0] - b).abs().max() < 1e-3
    assert graph.marginals().covariance('control').shape == (9, 6, 6)


def test_jacobians_are_those_of_the_residuals():
    controls = truth()
    slow, poses, fast, rates, forces, antenna, arm, _ = measured(controls)
    graph = FactorGraph()
    trajectory = SplineTrajectory(graph, (controls @ (pp.randn_se3(9, sigma=0.1, **f64)).Exp()).tensor(), INTERVAL)
    trajectory.add_poses(slow, poses.tensor())
    trajectory.add_positions(slow, antenna, arm)
    trajectory.add_gyroscope(fast[::9], rates[::9], bias='gyroscope bias')
    trajectory.add_accelerometer(fast[::9], forces[::9])
    for factors in graph.factors:
        x = factors.at(graph.values)
        r, J = factors.jacobians(x, factors.data)
        for k, (group, block) in enumerate(zip(factors.groups, J)):
            for i in range(group.dof):
                d = torch.zeros(len(factors), group.dof, **f64)
                d[:, i] = 1e-6
                ends = [factors.residual([group.retract(X, s * d) if n == k else X for n, X in enumerate(x)],
                                         factors.data) for s in (1, -1)]
                torch.testing.assert_close(block[..., i], (ends[0] - ends[1]) / 2e-6, atol=2e-6, rtol=1e-6)


def test_mistakes_are_named():
    graph = FactorGraph()
    with pytest.raises(ValueError, match='four control poses'):
        SplineTrajectory(graph, truth(3).tensor(), 0.1)
    trajectory = SplineTrajectory(graph, truth(5).tensor(), 0.1)
    with pytest.raises(ValueError, match=r'within \[0, 0.2\]'):
        trajectory.add_positions(torch.tensor([0.3]), torch.zeros(1, 3))
