"""Alignment, neighbours, cloud filters, ICP: beside PyPose where it is right, and beside other truths."""
import warnings

import pytest
import torch

import pypose_core as pp
from pypose_core import geometry
from pypose_core.geometry import ICP, align, normals, register
from pypose_core.geometry.icp import Matcher
from pypose_core.metric import umeyama

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')
f64 = {'dtype': torch.float64}


def same(a, b, tolerance=1e-9):
    a, b = (z.tensor() if hasattr(z, 'ltype') else z for z in (a, b))
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_documented_examples_give_their_documented_values():
    source = torch.tensor([[0., 0, 0], [1, 0, 0], [0, 1, 0]])
    same(pp.svdtf(source, source + 1).tensor(), torch.tensor([1., 1, 1, 0, 0, 0, 1]), 1e-5)
    same(pp.svdstf(source, source + 1).tensor(), torch.tensor([1., 1, 1, 0, 0, 0, 1, 1]), 1e-5)
    ref = torch.tensor([[9., 2, 2], [1, 0, 2], [0, 1, 1], [5, 0, 1], [1, 0, 1], [5, 5, 3]])
    nbr = torch.tensor([[1., 0, 1], [1, 6, 2], [5, 1, 0], [9, 0, 2]])
    found = pp.knn(ref, nbr, k=2)
    assert found.indices.tolist() == [[3, 2], [0, 2], [0, 2], [2, 0], [0, 2], [1, 2]]
    same(found.values[0], torch.tensor([2.0, 4.5826]), 1e-4)
    points = torch.tensor([[0., 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1], [10, 1, 1], [10, 1, 10]])
    assert len(pp.nbr_filter(points, nbr=2, radius=5)) == 4
    assert pp.nbr_filter(points, nbr=2, radius=12, return_mask=True)[1].tolist() == [True] * 5 + [False]
    third = torch.tensor([[1 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 0], [0, 2 / 3, 1 / 3], [0, 2 / 3, 1 / 3]])
    same(pp.knn_filter(points, k=2, radius=5), third, 1e-6)
    line = torch.arange(1., 16).view(5, 3)
    same(pp.voxel_filter(line, [5., 5., 5.]), torch.tensor([[2.5, 3.5, 4.5], [8.5, 9.5, 10.5], [13, 14, 15]]), 1e-6)


@pytest.mark.parametrize('shape', [(), (1,), (4,), (2, 3)], ids=str)
def test_alignment_recovers_the_transformation(shape):
    torch.manual_seed(0)
    T, points = pp.randn_Sim3(*shape, **f64), torch.randn(*shape, 7, 3, **f64)
    moved = T.unsqueeze(-2) @ points
    same(pp.svdstf(points, moved).matrix(), T.matrix())
    rigid = pp.SE3(T.tensor()[..., :7])
    same(pp.svdtf(points, rigid.unsqueeze(-2) @ points).matrix(), rigid.matrix())


@pytest.mark.parametrize('flatness', [1.0, 1e-2, 0.0])
def test_alignment_is_the_optimum_also_for_mirrored_and_flat_sets(flatness):
    torch.manual_seed(0)
    for _ in range(60):
        x = torch.randn(8, 3, **f64) * torch.tensor([1, 1, flatness], **f64)
        y = x * torch.tensor([-1, 1, 1], **f64) @ pp.randn_SO3(**f64).matrix().mT + 0.05 * torch.randn(8, 3, **f64)
        for with_scale in (False, True):
            R, t, s = align(x, y, with_scale=with_scale)
            assert torch.linalg.det(R) > 0.999
            best = umeyama(x.numpy(), y.numpy(), with_scale=with_scale)
            cost = (y - s * x @ R.mT - t).square().sum()
            other = torch.tensor(best.scale * best.rotation.apply(x.numpy()) + best.translation)
            assert cost <= (y - other).square().sum() + 1e-9


def test_weights_count_points():
    torch.manual_seed(0)
    x, y = torch.randn(2, 5, 3, **f64), torch.randn(2, 5, 3, **f64)
    w = torch.tensor([1.0, 2.0, 0.0, 1.0, 3.0], **f64)
    index = torch.tensor([0, 1, 1, 3, 4, 4, 4])
    for a, b in zip(align(x, y, w.expand(2, 5)), align(x[:, index], y[:, index])):
        same(a, b)


def test_alignment_is_differentiable_also_where_singular_values_coincide():
    torch.manual_seed(0)
    x, y = torch.randn(2, 5, 3, **f64, requires_grad=True), torch.randn(2, 5, 3, **f64, requires_grad=True)

    def function(x, y):
        R, t, s = align(x, y, with_scale=True)
        return R, t, s
    assert torch.autograd.gradcheck(function, (x, y))
    cube = torch.cat([torch.eye(3, **f64), -torch.eye(3, **f64)]).requires_grad_()   # three equal singular values
    target = cube.detach() + 0.3
    assert torch.autograd.gradcheck(lambda x: pp.svdtf(x, target).tensor(), cube)


@pytest.mark.parametrize('size', [(40, 30), (700, 900)], ids=['blocks', 'tree'])
@pytest.mark.parametrize('ord', [2, 1, float('inf')])
def test_neighbours_are_those_of_all_distances(size, ord):
    torch.manual_seed(0)
    ref, nbr = torch.randn(2, size[0], 3, **f64, requires_grad=True), torch.randn(1, size[1], 3, **f64)
    found, theirs = pp.knn(ref, nbr, 3, ord), pypose.knn(ref, nbr, 3, ord)
    same(found.values, theirs.values)
    assert (found.indices == theirs.indices).all()
    ours, expected = (torch.autograd.grad(z.values.sum(), ref)[0] for z in (found, theirs))
    same(ours, expected)
    far = pp.knn(ref, nbr, 2, ord, largest=True)
    assert (far.indices == pypose.knn(ref, nbr, 2, ord, largest=True).indices).all()


def test_neighbours_of_many_points_need_little_memory():
    import resource
    points = torch.rand(20_000, 3)
    pp.knn(points[:1000], points[:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (pp.knn(points, points).indices[:, 0] == torch.arange(20_000)).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000     # all distances: 1.6 GB


@pytest.mark.parametrize('size', [60, 900])
def test_cloud_filters_are_pyposes(size):
    torch.manual_seed(0)
    points = torch.rand(size, 5, **f64)
    radius = 1.5 * size ** (-1 / 3)
    for pdim in (None, 3):
        same(pp.nbr_filter(points, 4, radius, pdim), pypose.nbr_filter(points, 4, radius, pdim))
    # PyPose fails, or takes wrong points, as soon as one is left out.
    same(pp.knn_filter(points[:, :3], 4, radius=2.0), pypose.knn_filter(points[:, :3], 4, radius=2.0))
    kept = pp.nbr_filter(points[:, :3], 4, radius)
    same(pp.knn_filter(points[:, :3], 4, radius=radius), pypose.knn_filter(kept, 4))
    same(pp.knn_filter(points[None, :, :3], 4), torch.stack([pp.knn_filter(points[:, :3], 4)]))
    same(pp.voxel_filter(points, [0.2, 0.3, 0.25]), pypose.voxel_filter(points, [0.2, 0.3, 0.25]))
    chosen = pp.voxel_filter(points, [0.2, 0.3, 0.25], random=True)
    assert len(chosen) == len(pp.voxel_filter(points, [0.2, 0.3, 0.25]))
    assert (chosen[:, None] == points).all(-1).any(1).all()
    drawn = pp.random_filter(points, 10)
    assert drawn.shape == (10, 5) and len(drawn.unique(dim=0)) == 10


def test_more_coordinates_than_pdim_are_averaged_too():
    """PyPose's knn_filter mixes the rows where the points have more numbers than coordinates."""
    torch.manual_seed(0)
    points = torch.rand(30, 5, **f64)
    found = pp.knn_filter(points, 3, pdim=3)
    index = torch.cdist(points[:, :3], points[:, :3]).topk(4, largest=False).indices
    same(found, points[index].mean(1))


def cloud(n, seed=0):
    torch.manual_seed(seed)
    return torch.randn(n, 3, **f64) * torch.tensor([3.0, 2.0, 1.0], **f64)


def test_the_documented_icp_finds_its_documented_pose():
    source = torch.tensor([[[0., 0, 0], [1, 0, 0], [2, 0, 0]]])
    target = torch.tensor([[[0.2, 0.1, 0], [1.1397, 0.442, 0], [2.0794, 0.7840, 0]]])
    T = ICP(stepper=pp.utils.ReduceToBason(steps=10))(source, target)
    same(T.unsqueeze(-2) @ source, target, 1e-4)


@pytest.mark.parametrize('batch', [(), (3,)], ids=str)
@pytest.mark.parametrize('n', [100, 1500])
def test_icp_finds_small_motions(n, batch):
    target = cloud(n)
    motion = pp.randn_SE3(*batch, sigma=0.02, **f64)
    source = motion.Inv().unsqueeze(-2) @ target
    T = pp.module.ICP()(source, target)
    same((T.Inv() @ motion).Log().tensor(), torch.zeros(*batch, 6, **f64), 1e-7)


def test_icp_ends_where_pyposes_does():
    target = cloud(300)
    source = pp.randn_SE3(sigma=0.1, **f64).unsqueeze(-2) @ target + 0.05 * torch.randn(300, 3, **f64)
    ours = ICP(stepper=pp.utils.ReduceToBason(steps=100, patience=100))(source, target)
    theirs = pypose.module.ICP(stepper=pypose.utils.ReduceToBason(steps=100, patience=100))(source, target)
    same(ours, theirs, 1e-7)
    given = pp.randn_SE3(sigma=0.05, **f64)
    again = ICP(init=given)(source, target)
    assert pp.knn(again.unsqueeze(-2) @ source, target).values.mean() < pp.knn(source, target).values.mean()


def test_icp_is_differentiable():
    target = cloud(50)
    source = (pp.randn_SE3(sigma=0.05, **f64).unsqueeze(-2) @ target).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ICP()(s, target).tensor(), source, atol=1e-6)


def test_matches_kept_from_before_are_the_nearest():
    target, points = cloud(2000), cloud(1000, 1)
    matcher = Matcher(target)
    for k in range(8):
        points = pp.randn_SE3(sigma=0.2 / (k + 1) ** 2, **f64).unsqueeze(-2) @ points
        assert (matcher(points) == torch.cdist(points, target).argmin(-1)).all()


def surface(n, seed=0):
    """Points of a wavy sheet, sampled anew for each seed."""
    torch.manual_seed(seed)
    xy = torch.rand(n, 2, **f64) * 4 - 2
    return torch.stack([xy[:, 0], xy[:, 1], 0.5 * (1.5 * xy[:, 0]).sin() + 0.4 * (1.2 * xy[:, 1]).cos()], -1)


@pytest.mark.parametrize('method, tolerance', [('plane', 4e-3), ('gicp', 4e-3)])
def test_surfaces_are_registered_between_their_samples(method, tolerance):
    motion = pp.se3(torch.tensor([0.05, -0.04, 0.1, 0.02, -0.03, 0.04], **f64)).Exp()
    source, target = motion.Inv().unsqueeze(-2) @ surface(3000, 1), surface(3000, 2)
    found = register(source, target, method=method)
    error = (found.T_target_source.Inv() @ motion).Log().tensor()
    assert found.converged and found.status == 'converged' and error.abs().max() < tolerance
    plain = ICP()(source, target)
    assert error.norm() < (plain.Inv() @ motion).Log().tensor().norm()


def test_a_robust_kernel_ignores_outliers():
    motion = pp.se3(torch.tensor([0.05, -0.04, 0.1, 0.02, -0.03, 0.04], **f64)).Exp()
    source, target = motion.Inv().unsqueeze(-2) @ surface(2000, 1), surface(3000, 2)
    source = torch.cat([source, source[:600] + torch.tensor([0.0, 0.0, 0.6], **f64)])
    errors = []
    for kernel in (None, pp.optim.kernel.Cauchy(0.02)):
        found = register(source, target, kernel=kernel)
        errors.append((found.T_target_source.Inv() @ motion).Log().tensor().norm())
    assert errors[1] < 0.02 and errors[1] < errors[0] / 5


def test_the_covariance_is_that_of_repeated_registrations():
    target = surface(2500, 2)
    samples, covariance = [], 0
    for seed in range(25):
        torch.manual_seed(100 + seed)
        source = target[torch.randperm(2500)[:400]] + 0.01 * torch.randn(400, 3, **f64)
        found = register(source, target)
        samples.append(found.T_target_source.Log().tensor())
        covariance = covariance + found.covariance / 25
    e = torch.stack(samples)
    ratio = (e.mT @ e / 25).diagonal() / covariance.diagonal()
    assert ratio.mean() > 0.4 and ratio.mean() < 2.5


def test_a_plane_leaves_three_directions_free_and_says_so():
    torch.manual_seed(0)
    target = torch.cat([torch.rand(600, 2, **f64), torch.zeros(600, 1, **f64)], -1)
    found = register(target[:300] + torch.tensor([0.0, 0.0, 0.05], **f64), target)
    assert len(found.degenerate) == 3 and '3 directions' in found.status
    assert abs(float(found.T_target_source.translation()[2]) + 0.05) < 1e-6
    assert register(target + 100, target, max_distance=1.0).status == 'no point has a match within max_distance'


def test_normals_are_those_of_the_surface():
    points = surface(4000)
    truth = torch.stack([-0.75 * (1.5 * points[:, 0]).cos(), 0.48 * (1.2 * points[:, 1]).sin(),
                         torch.ones(4000, **f64)], -1)
    truth = truth / truth.norm(dim=-1, keepdim=True)
    inner = points[:, :2].abs().amax(-1) < 1.8
    assert (normals(points, 12) * truth).sum(-1).abs()[inner].min() > 0.98


def test_mistakes_are_named():
    points = torch.zeros(4, 3)
    for call, match in ((lambda: pp.knn(points, points, 5), 'k must be'),
                        (lambda: pp.knn(points, points[:, :2]), 'coord'),
                        (lambda: pp.svdtf(points, points[:2]), 'one N'), (lambda: pp.random_filter(points, 5), 'num'),
                        (lambda: pp.voxel_filter(points, [1.0, 0.0]), 'positive'),
                        (lambda: pp.voxel_filter(points[None], [1.0]), 'one point cloud'),
                        (lambda: register(points, points, method='x'), 'method'),
                        (lambda: pp.nbr_filter(points, 1, 1.0, pdim=4), 'pdim')):
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match='SE3'):
        ICP(init=torch.zeros(7))
    assert geometry.knn is pp.knn
