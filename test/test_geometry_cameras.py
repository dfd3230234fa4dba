"""Projection, camera models, PnP, triangulation, two views."""
import warnings

import pytest
import torch

import pypose_core as pp
from pypose_core.geometry import (
    Fisheye,
    Pinhole,
    essential_matrix,
    p3p,
    ransac_pnp,
    relative_pose,
    triangulate,
)

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')
f64 = {'dtype': torch.float64}
K = torch.tensor([[420.0, 0, 320], [0, 400, 240], [0, 0, 1]], **f64)


def test_projection_is_pyposes():
    torch.manual_seed(0)
    points, pose = torch.randn(2, 6, 3, **f64), pypose.randn_SE3(2, **f64)
    ours = pp.SE3(pose.tensor())
    intrinsics = K.expand(2, 3, 3)
    torch.testing.assert_close(pp.point2pixel(points, intrinsics), pypose.point2pixel(points, intrinsics))
    pixels = pypose.point2pixel(points, intrinsics, pose)
    torch.testing.assert_close(pp.point2pixel(points, intrinsics, ours), pixels)
    noisy = pixels + torch.randn_like(pixels)
    for reduction in ('none', 'norm', 'sum'):
        torch.testing.assert_close(pp.reprojerr(points, noisy, intrinsics, ours, reduction),
                                   pypose.reprojerr(points, noisy, intrinsics, pose, reduction))
    depth = torch.rand(6, **f64) + 1
    torch.testing.assert_close(pp.pixel2point(pixels[0], depth, K), pypose.pixel2point(pixels[0], depth, K))
    coordinates = torch.tensor([[4.0, 3, 2, 1], [8, 6, 4, -2], [1, 2, 3, 0], [1, 1, 1, -0.0]])
    torch.testing.assert_close(pp.homo2cart(coordinates), pypose.homo2cart(coordinates))
    torch.testing.assert_close(pp.cart2homo(coordinates), pypose.cart2homo(coordinates))


def test_skew_and_batches_of_depths_are_honoured():
    torch.manual_seed(0)
    skewed = K.clone()
    skewed[0, 1] = 7.0
    points = torch.randn(3, 5, 3, **f64) + torch.tensor([0, 0, 5.0], **f64)
    pixels = pp.point2pixel(points, skewed.expand(3, 3, 3))
    torch.testing.assert_close(pp.pixel2point(pixels, points[..., 2], skewed.expand(3, 3, 3)), points)


CAMERAS = [Pinhole(K), Pinhole(K, torch.tensor([-0.28, 0.07, 2e-4, 1e-5, 0.01], **f64)), Fisheye(K),
           Fisheye(K, torch.tensor([-0.01, 0.03, -0.02, 0.004], **f64))]


@pytest.mark.parametrize('camera', CAMERAS, ids=lambda c: f'{type(c).__name__}-{c.distortion is not None}')
def test_unprojection_undoes_projection(camera):
    torch.manual_seed(0)
    rays = torch.cat([0.7 * torch.randn(200, 2, **f64).clamp(-1.2, 1.2), torch.ones(200, 1, **f64)], -1)
    pixels, ahead = camera.project(rays * torch.linspace(0.5, 9, 200, **f64).unsqueeze(-1))
    assert ahead.all() and not camera.project(-rays)[1].any()
    back = camera.unproject(pixels)
    torch.testing.assert_close(back / back[:, 2:], rays, atol=1e-9, rtol=1e-9)
    centre = camera.unproject(torch.tensor([[320.0, 240.0]], **f64))
    torch.testing.assert_close(centre, torch.tensor([[0.0, 0.0, 1.0]], **f64))


def test_distortion_is_that_of_opencv_by_hand():
    x, y = 0.3, -0.2
    k1, k2, p1, p2, k3 = -0.28, 0.07, 2e-4, 1e-5, 0.01
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 ** 2 + k3 * r2 ** 3
    expected = [420 * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) + 320,
                400 * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) + 240]
    pixel, _ = CAMERAS[1].project(torch.tensor([[x * 3, y * 3, 3.0]], **f64))
    torch.testing.assert_close(pixel[0], torch.tensor(expected, **f64))
    theta = torch.tensor(0.13, **f64).sqrt().atan()
    bent = theta * (1 - 0.01 * theta ** 2 + 0.03 * theta ** 4 - 0.02 * theta ** 6 + 0.004 * theta ** 8)
    pixel, _ = CAMERAS[3].project(torch.tensor([[x * 3, y * 3, 3.0]], **f64))
    direction = torch.tensor([x, y], **f64) / 0.13 ** 0.5
    expected = bent * direction * torch.tensor([420.0, 400.0], **f64) + torch.tensor([320.0, 240.0], **f64)
    torch.testing.assert_close(pixel[0], expected)


@pytest.mark.parametrize('kind', [Pinhole, Fisheye])
def test_cameras_are_differentiable_both_ways(kind):
    intrinsics = torch.tensor([420.0, 400, 320, 240], **f64, requires_grad=True)
    distortion = (0.01 * torch.arange(1, kind.coefficients + 1, **f64)).requires_grad_()
    points = torch.tensor([[0.3, 0.2, 1.0], [-0.5, 0.1, 2.0]], **f64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *z: kind(*z[:2]).project(z[2])[0], (intrinsics, distortion, points))
    pixels = kind(intrinsics, distortion).project(points)[0].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda *z: kind(*z[:2]).unproject(z[2]), (intrinsics, distortion, pixels))


def scene(*batch, n=12, flat=False, seed=0):
    torch.manual_seed(seed)
    T = pp.SE3(torch.cat([torch.randn(*batch, 3, **f64), pp.randn_SO3(*batch, sigma=1.0, **f64).tensor()], -1))
    camera = torch.rand(*batch, n, 3, **f64) * 4 - 2 + torch.tensor([0, 0, 6.0], **f64)
    if flat:
        camera[..., 2] = 6 + 0.3 * camera[..., 0] - 0.2 * camera[..., 1]
    return T, T.Inv().unsqueeze(-2) @ camera


def apart(a, b):
    return (a.Inv() @ b).Log().tensor().norm(dim=-1)


@pytest.mark.parametrize('refine', [True, False])
@pytest.mark.parametrize('n, flat', [(6, False), (12, False), (60, False), (4, True), (8, True)])
def test_epnp_finds_the_pose(n, flat, refine):
    T, points = scene(30, n=n, flat=flat)
    pixels = pp.point2pixel(points, K.expand(30, 3, 3), T)
    found = pp.module.EPnP(K.expand(30, 3, 3), refine)(points, pixels)
    assert apart(found, T).max() < (1e-6 if refine else 1e-3)


def test_epnp_gives_its_documented_pose_and_is_never_worse_than_pyposes():
    intrinsics = torch.tensor([[2.0, 0, 4.5], [0, 2, 4.5], [0, 0, 1]])
    objects = torch.tensor([[2., 0, 2], [1, 0, 2], [0, 1, 1], [0, 0, 1], [1, 0, 1], [5, 5, 3]])
    pose = pp.SE3(torch.tensor([0., -8, 0, 0, -0.3827, 0, 0.9239]))
    found = pp.module.EPnP(intrinsics)(pose.Inv() @ objects, pp.point2pixel(objects, intrinsics))
    torch.testing.assert_close(found.tensor(), pose.tensor(), atol=2e-4, rtol=0)
    T, points = scene(20, n=10)
    pixels = pp.point2pixel(points, K.expand(20, 3, 3), T) + torch.randn(20, 10, 2, **f64)
    theirs = pp.SE3(pypose.module.EPnP(K.expand(20, 3, 3))(points, pixels).tensor().detach())
    ours = pp.module.EPnP(K.expand(20, 3, 3))(points, pixels)
    costs = [pp.reprojerr(points, pixels, K.expand(20, 3, 3), X).square().sum((-2, -1)) for X in (ours, theirs)]
    assert (costs[0] <= costs[1] + 1e-9).all()


def test_the_refined_pose_is_stationary_and_differentiable():
    T, points = scene(2, n=6)
    pixels = (pp.point2pixel(points, K.expand(2, 3, 3), T) + torch.randn(2, 6, 2, **f64))
    found = pp.module.EPnP(K)(points, pixels)
    delta = torch.zeros(2, 6, **f64, requires_grad=True)
    cost = pp.reprojerr(points, pixels, K.expand(2, 3, 3), pp.se3(delta).Exp() @ found).square().sum()
    gradient, = torch.autograd.grad(cost, delta)
    assert gradient.abs().max() < 1e-4
    leaves = [z.clone().requires_grad_() for z in (points, pixels, K)]
    weight, h = torch.randn(2, 7, **f64), 1e-4
    ways = [torch.randn_like(z) * s for z, s in zip(leaves, (0.1, 10.0, 10.0))]
    ways[2] = ways[2] * (K > 1)
    grads = torch.autograd.grad((pp.module.EPnP()(*leaves).tensor() * weight).sum(), leaves)
    slope = sum((g * d).sum() for g, d in zip(grads, ways))
    with torch.no_grad():
        plus, minus = ((pp.module.EPnP()(*(z + s * d for z, d in zip(leaves, ways))).tensor() * weight).sum()
                       for s in (h, -h))
    torch.testing.assert_close(slope, (plus - minus) / (2 * h), atol=1e-5, rtol=1e-4)


def test_three_points_give_the_pose_among_four():
    T, points = scene(200, n=3)
    R, t, good = p3p(points, T.unsqueeze(-2) @ points)
    truth = T.matrix()
    error = (R - truth[:, None, :3, :3]).abs().amax((-2, -1)) + (t - truth[:, None, :3, 3]).abs().amax(-1)
    error = torch.where(good, error, torch.full_like(error, torch.inf)).amin(-1)
    assert (error < 1e-6).double().mean() > 0.98


@pytest.mark.parametrize('wrong', [0.0, 0.4, 0.65])
def test_ransac_finds_the_pose_among_wrong_matches(wrong):
    T, points = scene(n=150)
    pixels = pp.point2pixel(points, K, T) + 0.5 * torch.randn(150, 2, **f64)
    bad = torch.arange(150) < int(150 * wrong)
    pixels[bad] = torch.rand(int(bad.sum()), 2, **f64) * torch.tensor([640.0, 480.0], **f64)
    found = ransac_pnp(points, pixels, K)
    assert found.success and found.inliers[~bad].double().mean() > 0.97 and found.inliers[bad].double().sum() < 4
    e = (T @ found.T_camera_world.Inv()).Log().tensor()
    assert e.norm() < 0.02 and e @ torch.linalg.solve(found.covariance, e) < 25      # χ² of six


def test_ransac_says_when_there_is_no_pose():
    torch.manual_seed(0)
    found = ransac_pnp(torch.randn(20, 3, **f64), torch.rand(20, 2, **f64) * 400, K, threshold=0.01, samples=20)
    assert not found.success


def test_triangulation_recovers_points_and_their_covariance():
    torch.manual_seed(0)
    X = torch.randn(500, 3, **f64)
    poses = pp.SE3(torch.tensor([[-2, 0, -8, 0, 0, 0, 1], [2, 0, -8, 0, 0, 0, 1], [0, 2, -8, 0, 0, 0, 1.0]], **f64))
    p = poses.Inv() @ X.unsqueeze(-2)
    found, _ = triangulate(p, poses.expand(500, 3, 7))
    torch.testing.assert_close(found, X, atol=1e-10, rtol=0)
    noisy = p / p[..., 2:]
    noisy = torch.cat([noisy[..., :2] + 1e-3 * torch.randn(500, 3, 2, **f64), noisy[..., 2:]], -1)
    found, covariance = triangulate(noisy, poses.expand(500, 3, 7))
    e = (found - X).unsqueeze(-1)
    nees = (e.mT @ torch.linalg.solve(1e-6 * covariance, e)).mean()
    assert 2.6 < nees < 3.4
    with pytest.raises(ValueError, match='two cameras'):
        triangulate(p[:, :1], poses[:1].expand(500, 1, 7))


@pytest.mark.parametrize('noise', [0.0, 1e-3])
def test_two_views_give_the_relative_pose(noise):
    torch.manual_seed(0)
    B, n = 12, 40
    T = pp.SE3(torch.cat([torch.nn.functional.normalize(torch.randn(B, 3, **f64), dim=-1),
                          pp.randn_SO3(B, sigma=0.2, **f64).tensor()], -1))
    x = torch.rand(B, n, 3, **f64) * torch.tensor([4, 4, 3], **f64) + torch.tensor([-2, -2, 4.0], **f64)
    y = T.unsqueeze(-2) @ x
    a, b = (z[..., :2] / z[..., 2:] + noise * torch.randn(B, n, 2, **f64) for z in (x, y))
    found = relative_pose(a, b)
    assert apart(found, T).max() < (1e-7 if noise == 0 else 0.05)
    E = essential_matrix(a, b)
    torch.testing.assert_close(torch.linalg.svdvals(E), torch.tensor([1.0, 1.0, 0.0], **f64).expand(B, 3), atol=1e-9,
                               rtol=0)
    start = relative_pose(a, b, iterations=0)
    if noise:
        assert apart(found, T).mean() < 0.7 * apart(start, T).mean()


def test_mistakes_are_named():
    points, pixels = torch.zeros(3, 3), torch.zeros(3, 2)
    for call, match in ((lambda: pp.module.EPnP(torch.eye(3))(points, pixels), 'four'),
                        (lambda: pp.module.EPnP()(points, pixels), 'intrinsics'),
                        (lambda: ransac_pnp(points, pixels, torch.eye(3)), 'four'),
                        (lambda: essential_matrix(pixels, pixels), 'eight'),
                        (lambda: Pinhole(torch.zeros(3)), 'intrin'),
                        (lambda: Fisheye(K, torch.zeros(5)), '4 coefficients'),
                        (lambda: pp.point2pixel(pixels, K), 'points must'),
                        (lambda: pp.reprojerr(points, pixels, K, reduction='x'), 'reduction')):
        with pytest.raises(ValueError, match=match):
            call()
