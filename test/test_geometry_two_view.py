"""Relative poses from matches: the truth among the solutions, wrong matches, planes, rotations, covariances."""
import pytest
import torch

import pypose_core as pp
from pypose_core.geometry import (
    TwoViewStatus,
    eight_point_is_determined,
    five_point,
    pose_from_essential,
    ransac_relative_pose,
    relative_pose,
    sampson,
)
from pypose_core.geometry.two_view import linearized

f64 = {'dtype': torch.float64}


def views(*batch: int, n: int, flat: bool = False, noise: float = 0.0, length: float = 1.0, seed: int = 0):
    """(T_b_a with a translation of `length`, a, b): points 4 m to 7 m before the first camera."""
    torch.manual_seed(seed)
    t = torch.nn.functional.normalize(torch.randn(*batch, 3, **f64), dim=-1) * length
    T = pp.SE3(torch.cat([t, pp.randn_SO3(*batch, sigma=0.15, **f64).tensor()], -1))
    x = torch.rand(*batch, n, 3, **f64) * torch.tensor([4, 4, 3], **f64) + torch.tensor([-2, -2, 4.0], **f64)
    if flat:
        x[..., 2] = 6 + 0.3 * x[..., 0] - 0.2 * x[..., 1]
    y = T.unsqueeze(-2) @ x
    return T, *(z[..., :2] / z[..., 2:] + noise * torch.randn(*batch, n, 2, **f64) for z in (x, y))


def apart(a, b):
    """Of rotation and direction, both as an angle."""
    return (a.Inv() @ b).rotation().Log().tensor().norm(dim=-1) + (a.translation() - b.translation()).norm(dim=-1)


@pytest.mark.parametrize('flat', [False, True])
def test_the_truth_is_among_the_matrices_that_five_matches_allow(flat):
    T, a, b = views(500, n=5, flat=flat)
    E, good = five_point(a, b)
    truth = pp.vec2skew(T.translation()) @ T.rotation().matrix()
    error = torch.stack([(E - s * truth.unsqueeze(1)).abs().amax((-2, -1)) for s in (1, -1)]).amin(0)
    assert torch.where(good, error, torch.inf).amin(-1).quantile(0.99) < 1e-7
    # An even number of real roots of a polynomial of degree ten; four or five of them on average.
    assert bool((good.sum(-1) % 2 == 0).all()) and 4 < good.double().sum(-1).mean() < 5.5
    found = E[good]
    residual = (2 * found @ found.mT @ found - (found @ found.mT).diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
                * found).abs().amax()
    which = good.nonzero()[:, 0]
    assert residual < 1e-12 and sampson(found, a[which], b[which]).abs().quantile(0.99) < 1e-9


def test_of_an_essential_matrixs_four_poses_the_one_before_both_cameras_is_taken():
    T, a, b = views(50, n=6)
    E = pp.vec2skew(T.translation()) @ T.rotation().matrix()
    assert apart(pose_from_essential(-3.0 * E, a, b), T).max() < 1e-7
    wrong = torch.zeros(50, 6, **f64)
    wrong[:, 0] = 1.0
    a[:, 1:] = -9.0     # only the first match votes
    assert apart(pose_from_essential(E, a, b, wrong), T).max() < 1e-7


@pytest.mark.parametrize('n, flat', [(6, False), (7, False), (30, True)])
def test_where_eight_points_have_no_answer_five_do(n, flat):
    T, a, b = views(20, n=n, flat=flat, noise=0.0)
    if n >= 8:
        assert not eight_point_is_determined(a, b).any()
    found = relative_pose(a, b)
    E = pp.vec2skew(found.translation()) @ found.rotation().matrix()
    assert sampson(E, a, b).abs().max() < 1e-6
    if not flat:        # a plane may leave a second pose
        assert (apart(found, T) < 1e-5).double().mean() > 0.9


def test_the_eight_point_algorithm_is_known_to_fail_on_planes_and_rotations_at_every_noise():
    for noise in (0.0, 1e-4, 1e-3):
        assert eight_point_is_determined(*views(20, n=60, noise=noise)[1:]).all()
        assert not eight_point_is_determined(*views(20, n=60, flat=True, noise=noise)[1:]).any()
        assert not eight_point_is_determined(*views(20, n=60, length=0.0, noise=noise)[1:]).any()


def test_the_slope_of_sampsons_distance_is_that_of_differences():
    T, a, b = views(4, n=9, noise=1e-2)
    t, q = T.tensor().split((3, 4), -1)
    r, J, moved = linearized(q, t, a, b)

    def distance(d):
        q, t = moved(d)
        return sampson(pp.vec2skew(t) @ pp.SO3(q).matrix(), a, b)
    steps = 1e-6 * torch.eye(5, **f64)
    torch.testing.assert_close(r, distance(torch.zeros(4, 5, **f64)))
    difference = torch.stack([(distance(s.expand(4, 5)) - distance(-s.expand(4, 5))) / 2e-6 for s in steps], -1)
    torch.testing.assert_close(J, difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('wrong', [0.0, 0.3, 0.55])
def test_ransac_finds_the_pose_among_wrong_matches_with_an_honest_covariance(wrong):
    errors = []
    for seed in range(4):
        T, a, b = views(n=200, noise=5e-4, seed=seed)
        bad = torch.arange(200) < int(200 * wrong)
        b[bad] = torch.rand(int(bad.sum()), 2, **f64) * 1.6 - 0.8
        found = ransac_relative_pose(a, b, threshold=2e-3)
        assert found.success and apart(found.T_b_a, T) < 0.05
        assert found.inliers[~bad].double().mean() > 0.97 and found.inliers[bad].sum() <= 0.1 * bad.sum()
        e = (T @ found.T_b_a.Inv()).Log().tensor()
        values, axes = torch.linalg.eigh(found.covariance)
        assert values[0] < 1e-9 * values[-1]
        errors.append(((axes.mT @ e)[1:].square() / values[1:]).sum())
    if wrong <= 0.3:    # beyond, matches that are wrong along their epipolar line have their say too
        assert 1.0 < torch.stack(errors).mean() < 12.0      # χ² of five dimensions, four draws


def test_a_rotation_is_told_from_a_pose():
    T, a, b = views(n=150, noise=5e-4, length=0.0)
    b[:40] = torch.rand(40, 2, **f64) - 0.5
    found = ransac_relative_pose(a, b, threshold=2e-3)
    assert found.status is TwoViewStatus.ROTATION and not found.success
    assert apart(found.T_b_a, T) < 2e-3 and not found.T_b_a.translation().any() and bool(found.covariance.isinf().all())


def test_on_a_plane_the_truth_is_the_pose_or_its_alternative():
    ambiguous = 0
    for seed in range(5):
        T, a, b = views(n=150, flat=True, noise=3e-4, seed=seed)
        b[:40] = torch.rand(40, 2, **f64) * 1.6 - 0.8
        found = ransac_relative_pose(a, b, threshold=1.5e-3)
        poses = torch.cat([found.T_b_a.tensor()[None], found.alternatives.tensor()])
        assert apart(pp.SE3(poses), T).min() < 0.05
        assert (len(found.alternatives) > 0) == (found.status is TwoViewStatus.AMBIGUOUS)
        ambiguous += found.status is TwoViewStatus.AMBIGUOUS
    assert ambiguous > 0


def test_noise_alone_is_no_pose_and_mistakes_are_named():
    torch.manual_seed(0)
    found = ransac_relative_pose(torch.rand(30, 2, **f64), torch.rand(30, 2, **f64), threshold=1e-4, samples=20)
    assert found.status is TwoViewStatus.NOT_FOUND and not found.inliers.any()
    same = torch.ones(9, 2, **f64)
    assert not ransac_relative_pose(same, same).success
    for call, match in ((lambda: five_point(same, same), 'five'), (lambda: relative_pose(same[:5], same[:5]), 'six'),
                        (lambda: ransac_relative_pose(same[:7], same[:7]), '8 matches'),
                        (lambda: eight_point_is_determined(same[:7], same[:7]), 'eight')):
        with pytest.raises(ValueError, match=match):
            call()
