"""ape and rpe in PyPose's form, and the block-sparse product."""
import warnings

import pytest
import torch

import pypose_core as pp
from pypose_core.metric import Trajectory, ate

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')
ETYPES = ['translation', 'rotation', 'pose', 'radian', 'degree']


def documented(library):
    """The example in PyPose's documentation; its stamps are in float32, where they are all equal."""
    rstamp = torch.tensor([1311868163.8696999550, 1311868163.8731000423, 1311868163.8763999939])
    rpose = library.SE3(torch.tensor([
        [-0.1357000023, -1.4217000008, 1.4764000177, 0.6452999711, -0.5497999787, 0.3362999856, -0.4101000130],
        [-0.1357000023, -1.4218000174, 1.4764000177, 0.6453999877, -0.5497000217, 0.3361000121, -0.4101999998],
        [-0.1358000040, -1.4219000340, 1.4764000177, 0.6455000043, -0.5498999953, 0.3357999921, -0.4101000130]]))
    estamp = torch.tensor([1311868164.3631811142, 1311868164.3990259171, 1311868164.4309399128])
    epose = library.SE3(torch.tensor([
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [-0.0005019300, 0.0010138600, -0.0020097860, -0.0020761820, -0.0010706080, -0.0007627490, 0.9999969602],
        [0.0004298200, 0.0019603260, -0.0048985220, -0.0043526068, -0.0036625920, -0.0023494449, 0.9999810457]]))
    return rstamp, rpose, estamp, epose


def test_the_documented_examples_give_their_documented_numbers():
    found = pp.metric.ape(*documented(pp))
    for name, value in (('Max', 2.0590), ('Min', 2.0541), ('Mean', 2.0565), ('Median', 2.0562), ('RMSE', 2.0565),
                        ('SSE', 12.6871), ('STD', 0.0025)):
        assert found[name].item() == pytest.approx(value, abs=1e-4), name
    found = pp.metric.rpe(*documented(pp))
    for name, value in (('Max', 0.0032), ('Min', 0.0023), ('RMSE', 0.0028), ('SSE', 1.5428e-05), ('STD', 0.0006)):
        assert found[name].item() == pytest.approx(value, abs=1e-4), name
    assert pp.metric.ape(*documented(pp), otype='Mean').item() == pytest.approx(2.0565, abs=1e-4)


def trajectories(library, n=60, m=45):
    torch.manual_seed(0)
    path = torch.cumsum(0.1 * torch.randn(n, 6, dtype=torch.float64), 0)
    reference = pypose.se3(path).Exp().tensor()
    index = torch.arange(m) + 5
    noise = pypose.se3(0.02 * torch.randn(m, 6, dtype=torch.float64)).Exp()
    moved = pypose.randn_SE3(dtype=torch.float64) @ (pypose.SE3(reference[index]) @ noise)
    stamps = torch.arange(n, dtype=torch.float64) * 0.1
    return (stamps.clone(), library.SE3(reference.clone()), stamps[index] + 0.003 * torch.randn(m).double(),
            library.SE3(moved.tensor().clone()))


@pytest.mark.parametrize('etype', ETYPES)
@pytest.mark.parametrize('options', [{}, {'align': True}, {'align': True, 'scale': True}, {'origin': True},
                                     {'offset': 0.1, 'diff': 0.02}], ids=str)
def test_absolute_errors_are_pyposes(etype, options):
    results = [library.metric.ape(*trajectories(library), etype=etype, **options) for library in (pypose, pp)]
    for name in results[0]:
        torch.testing.assert_close(results[0][name], results[1][name], atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize('etype', ETYPES)
@pytest.mark.parametrize('options', [{}, {'delta': 4}, {'delta': 3, 'all': True},
                                     {'associate': 'distance', 'delta': 0.5},
                                     {'associate': 'distance', 'delta': 0.7, 'all': True, 'rtol': 0.2},
                                     {'associate': 'distance', 'delta': 0.5, 'rpair': True}, {'origin': True}], ids=str)
def test_relative_errors_are_pyposes(etype, options):
    results = [library.metric.rpe(*trajectories(library), etype=etype, **options) for library in (pypose, pp)]
    for name in results[0]:
        torch.testing.assert_close(results[0][name], results[1][name], atol=1e-8, rtol=1e-8)


def test_the_absolute_error_is_that_of_trajectories():
    rstamp, rpose, estamp, epose = trajectories(pp)
    pairs = pp.metric.ape(rstamp, rpose, rstamp[5:50], epose, align=True)
    stamps = (rstamp * 1e9).long().numpy()
    both = [Trajectory(stamps[5:50], z.numpy()) for z in (epose.tensor(), rpose.tensor()[5:50])]
    expected = ate(*both, alignment='se3')
    assert pairs['RMSE'].item() == pytest.approx(expected.translation.rmse, abs=1e-9)


def test_the_first_poses_decide_the_alignment_if_asked():
    rstamp, rpose, estamp, epose = trajectories(pp)
    bent = pp.SE3(torch.cat([epose.tensor()[:20], (pp.se3(torch.ones(6).double()).Exp() @ epose[20:]).tensor()]))
    all_ = pp.metric.ape(rstamp, rpose, estamp, bent, align=True)
    some = pp.metric.ape(rstamp, rpose, estamp, bent, align=True, nposes=20)
    assert some['Min'] < all_['Min'] and some['Max'] > all_['Max']


def test_stamps_are_left_as_they_are():
    rstamp, rpose, estamp, epose = trajectories(pp)
    copies = rstamp.clone(), estamp.clone()
    pp.metric.ape(rstamp, rpose, estamp, epose, offset=0.1, diff=0.05)
    assert (rstamp == copies[0]).all() and (estamp == copies[1]).all()


def test_mistakes_and_poor_matches_are_named():
    rstamp, rpose, estamp, epose = trajectories(pp)
    for options, match in (({'offset': 100.0}, 'no stamps'), ({'etype': 'x'}, 'etype'), ({'otype': 'x'}, 'otype')):
        with pytest.raises(ValueError, match=match):
            pp.metric.ape(rstamp, rpose, estamp, epose, **options)
    with pytest.raises(ValueError, match='no two poses'):
        pp.metric.rpe(rstamp, rpose, estamp, epose, associate='distance', delta=1e6)
    with pytest.warns(UserWarning, match='partner'):
        pp.metric.ape(rstamp, rpose, estamp, epose, offset=4.8)
    with pytest.raises(ValueError, match='ascending'):
        pp.metric.ape(rstamp.flip(0), rpose, estamp, epose)


def test_the_geodesic_loss_is_pyposes():
    X, Y = pypose.randn_SE3(5), pypose.randn_SE3(5)
    for reduction in ('none', 'mean', 'sum'):
        theirs = pypose.module.GeodesicLoss(reduction)(X, Y)
        torch.testing.assert_close(theirs, pp.module.GeodesicLoss(reduction)(pp.SE3(X.tensor()), pp.SE3(Y.tensor())))


@pytest.mark.filterwarnings('ignore:Sparse:UserWarning')
def test_the_block_sparse_product_is_the_dense_one_and_differentiable():
    torch.manual_seed(0)
    left = torch.randn(6, 8, dtype=torch.float64) * torch.kron(torch.rand(3, 4) < 0.5, torch.ones(2, 2)).double()
    right = torch.randn(8, 9, dtype=torch.float64) * torch.kron(torch.rand(4, 3) < 0.5, torch.ones(2, 3)).double()
    product = pp.sparse.bsr_bsc_matmul(left.to_sparse_bsr((2, 2)), right.to_sparse_bsc((2, 3)))
    torch.testing.assert_close(product.to_dense(), left @ right)
    with pytest.raises(ValueError, match='sparse_bsr'):
        pp.sparse.bsr_bsc_matmul(left, right)
