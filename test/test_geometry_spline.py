"""Splines: PyPose's samples, the definition, and derivatives against differences."""
import warnings

import pytest
import torch

import pypose_core as pp
from pypose_core.geometry import BSpline, HermiteSpline

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')
f64 = {'dtype': torch.float64}


@pytest.mark.parametrize('interval', [0.1, 0.25, 0.3, 0.7])
@pytest.mark.parametrize('shape', [(5, 3), (2, 4, 2), (2, 3, 4, 1)], ids=str)
def test_hermite_samples_are_pyposes(shape, interval):
    torch.manual_seed(0)
    points = torch.randn(*shape, **f64)
    torch.testing.assert_close(pp.chspline(points, interval), pypose.chspline(points.clone(), interval))


@pytest.mark.parametrize('extrapolate', [False, True])
@pytest.mark.parametrize('interval', [0.1, 0.3])
def test_spline_poses_are_pyposes(interval, extrapolate):
    torch.manual_seed(0)
    theirs = pypose.randn_SE3(2, 6, **f64)
    ours = pp.SE3(theirs.tensor())
    expected = pypose.bspline(theirs, interval, extrapolate).tensor()
    found = pp.bspline(ours, interval, extrapolate)
    torch.testing.assert_close(found.matrix(), pp.SE3(expected).matrix())
    if extrapolate:
        for i in (0, -1):
            torch.testing.assert_close(found[:, i].matrix(), ours[:, i].matrix())


def test_the_hermite_spline_goes_through_its_points_with_its_slopes():
    torch.manual_seed(0)
    times = torch.tensor([0.0, 0.4, 1.0, 2.5], **f64)
    points, slopes = torch.randn(4, 2, **f64), torch.randn(4, 2, **f64)
    spline = HermiteSpline(points, times, slopes)
    torch.testing.assert_close(spline(times), points)
    torch.testing.assert_close(spline(times, 1), slopes)
    from scipy.interpolate import CubicHermiteSpline
    t = torch.linspace(-0.2, 2.9, 50, **f64)
    for order in (0, 1, 2):
        peer = CubicHermiteSpline(times.numpy(), points.numpy(), slopes.numpy())(t.numpy(), order)
        torch.testing.assert_close(spline(t, order), torch.tensor(peer))


@pytest.mark.parametrize('group', ['SO3', 'SE3', 'Sim3', 'SE23', 'SE2', 'SO2', 'RxSO3'])
def test_velocity_and_acceleration_are_the_derivatives_of_the_curve(group):
    torch.manual_seed(0)
    controls = getattr(pp, f'randn_{group}')(7, sigma=0.6, **f64)
    spline = BSpline(controls, interval=0.5)
    t, h = torch.linspace(0.05, 1.9, 9, **f64), 1e-5
    X, v, a = spline.derivatives(t)
    slope = X.between(spline(t + h)).Log().tensor() - X.between(spline(t - h)).Log().tensor()
    torch.testing.assert_close(v, slope / (2 * h), atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(a, (spline.velocity(t + h) - spline.velocity(t - h)) / (2 * h), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(X.matrix(), spline(t).matrix())


def test_velocity_and_acceleration_are_continuous_at_the_knots():
    torch.manual_seed(0)
    spline = BSpline(pp.randn_SE3(6, sigma=0.5, **f64), interval=2.0)
    knots = torch.tensor([2.0, 4.0], **f64)
    for left, right in zip(spline.derivatives(knots - 1e-9), spline.derivatives(knots + 1e-9)):
        left, right = (z.tensor() if hasattr(z, 'ltype') else z for z in (left, right))
        torch.testing.assert_close(left, right, atol=1e-7, rtol=1e-7)


def test_a_steady_screw_motion_is_itself():
    twist = pp.se3(torch.tensor([0.5, 0.1, -0.2, 0.2, 0.3, -0.1], **f64))
    controls = pp.se3(twist.tensor() * torch.arange(6, **f64)[:, None]).Exp()
    spline, t = BSpline(controls), torch.linspace(0, 3, 13, **f64)
    X, v, a = spline.derivatives(t)
    expected = pp.se3(twist.tensor() * (t + 1)[:, None]).Exp()
    torch.testing.assert_close(X.matrix(), expected.matrix())
    torch.testing.assert_close(v, twist.tensor().expand(13, 6))
    torch.testing.assert_close(a, torch.zeros(13, 6, **f64), atol=1e-12, rtol=0)


def test_splines_are_differentiable_by_their_controls_and_times():
    torch.manual_seed(0)
    twists = (0.5 * torch.randn(5, 6, **f64)).requires_grad_()
    t = torch.tensor([0.3, 1.2], **f64, requires_grad=True)

    def function(twists, t):
        X, v, a = BSpline(pp.se3(twists).Exp()).derivatives(t)
        return X.Log().tensor(), v, a
    assert torch.autograd.gradcheck(function, (twists, t))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='at least 4'):
        pp.bspline(pp.randn_SE3(3))
    with pytest.raises(TypeError, match='SE3'):
        pp.bspline(torch.zeros(4, 7))
    with pytest.raises(ValueError, match='interval'):
        pp.chspline(torch.zeros(3, 2), 1.0)
    with pytest.raises(ValueError, match='increasing'):
        HermiteSpline(torch.zeros(3, 2), torch.tensor([0.0, 2.0, 1.0]))
