"""Independent problems are found by themselves, and never where there are none."""
import pytest
import torch

import pypose_core as pp
from pypose_core.optim.linearize import linearize_dense
from pypose_core.optim.problem import Problem
from pypose_core.optim.structure import find_structure


class Poses(torch.nn.Module):
    """Poses, and a residual that is a function of them and of the input."""

    def __init__(self, shape, residual, group='SE3'):
        super().__init__()
        torch.manual_seed(0)
        self.pose = pp.Parameter(getattr(pp, f'randn_{group}')(*shape, sigma=0.5, dtype=torch.float64))
        self.residual = residual

    def forward(self, x):
        return self.residual(self.pose, x)


def inversion(pose, x):
    return (pose @ x).Log().tensor()


def poses(*shape):
    torch.manual_seed(1)
    return pp.randn_SE3(*shape, sigma=0.5, dtype=torch.float64)


def structure_of(model, *x):
    problem = Problem(model, x)
    return find_structure(problem, problem.residuals())


def step_both_ways(model, x, **options):
    """Loss and parameters after one step, with structure and without."""
    results = []
    start = model.pose.detach().clone()
    for structure in ('auto', 'dense'):
        with torch.no_grad():
            model.pose.copy_(start)
        optimizer = pp.optim.GN(model, pp.optim.solver.Cholesky(), structure=structure, **options)
        loss = optimizer.step(x)
        results.append((loss, model.pose.detach().tensor().clone(), optimizer.structure))
    return results


@pytest.mark.parametrize('shape', [(7,), (2, 3)])
def test_in_order(shape):
    found = structure_of(Poses(shape, inversion), poses(*shape))
    assert found.batch == shape and found.places is None and found.height == 6


def test_one_shared_input_broadcasts():
    found = structure_of(Poses((4,), inversion), poses())
    assert found.batch == (4,)


INDEX = torch.tensor([3, 0, 0, 4, 1, 3, 3, 2])


@pytest.mark.parametrize('index', [INDEX, torch.tensor([4, 3, 2, 1, 0])], ids=['several', 'permuted'])
def test_gathers(index):
    model = Poses((5,), lambda pose, x: inversion(pose[index], x))
    x = poses(len(index))
    found = structure_of(model, x)
    assert found.batch == (5,) and torch.equal(found.owners[0], index)
    assert found.height == 6 * int(index.bincount().max())
    (loss, pose, sentence), (expected_loss, expected, _) = step_both_ways(model, x)
    assert '5 independent problems' in sentence and 'gathered' in sentence
    torch.testing.assert_close(loss, expected_loss, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(pose, expected, rtol=1e-8, atol=1e-10)


def test_a_pose_without_residual_stays_where_it_is():
    index = torch.tensor([0, 2, 2])
    model = Poses((4,), lambda pose, x: inversion(pose[index], x))
    start = model.pose.detach().tensor().clone()
    optimizer = pp.optim.LM(model)
    optimizer.step(poses(3))
    assert 'gathered' in optimizer.structure
    moved = (model.pose.detach().tensor() - start).abs().amax(1) > 1e-3
    assert moved.tolist() == [True, False, True, False]


def test_chains_in_a_batch_are_coupled_only_within():
    """A batch of pose graphs: one problem for each, not for each pose."""
    def chain(pose, x):
        return torch.cat([(pose[:, :-1].Inv() @ pose[:, 1:] @ x).Log().tensor(),
                          pose[:, :1].Log().tensor()], 1)

    model, x = Poses((3, 4), chain), poses(3, 3)
    found = structure_of(model, x)
    assert found.batch == (3,) and found.height == 4 * 6
    (loss, pose, _), (expected_loss, expected, _) = step_both_ways(model, x)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(pose, expected, rtol=1e-8, atol=1e-10)


def test_several_outputs_and_parameters():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.pose = pp.Parameter(pp.randn_SE3(4, dtype=torch.float64))
            self.offset = torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))

        def forward(self, x):
            return inversion(self.pose, x), self.pose.Act(self.offset)[INDEX % 4], self.offset

    model, x = Model(), poses(4)
    found = structure_of(model, x)
    assert found.batch == (4,) and found.owners[1].tolist() == (INDEX % 4).tolist()
    problem = Problem(model, x)
    optimizer = pp.optim.LM(model)
    system = optimizer._system(problem)
    dense = linearize_dense(problem).J[0]
    gram = dense.mT @ dense
    # The dense columns are ordered by parameter, the blocks' by problem.
    order = torch.cat([torch.cat([torch.arange(6) + 6 * i, 24 + torch.arange(3) + 3 * i]) for i in range(4)])
    torch.testing.assert_close(torch.block_diag(*system.A), gram[order][:, order])


@pytest.mark.parametrize('residual', [
    lambda pose, x: inversion(pose[:-1].Inv() @ pose[1:], x[1:]),
    lambda pose, x: inversion(pose, x) + 1e-3 * pose.translation().sum(0).repeat(2),
    lambda pose, x: pose.tensor().cumsum(0),
], ids=['chain', 'weak', 'cumulative'])
def test_coupled_elements_are_one_problem(residual):
    found = structure_of(Poses((4,), residual), poses(4))
    assert found.batch == () and 'several elements' in found.sentence


def test_shared_parameter_is_one_problem():
    model = Poses((4,), lambda pose, x: inversion(pose, x))
    model.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    model.residual = lambda pose, x: model.scale * inversion(pose, x)
    assert structure_of(model, poses(4)).batch == ()


def test_network_is_one_problem():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4)).double()
    assert structure_of(model, torch.randn(4, 4, dtype=torch.float64)).batch == ()


def test_coupling_that_appears_later_is_noticed():
    """Neighbours pull each other only once they are near: the first linearization cannot see it."""
    class Crowd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([[0.0], [10.0], [20.0]], dtype=torch.float64))

        def forward(self, goal):
            gap = self.x[1:] - self.x[:-1]
            near = torch.nn.functional.relu(1 - gap)
            push = torch.nn.functional.pad(near, (0, 0, 1, 0))
            return torch.cat([self.x - goal, push], 1)

    model, goal = Crowd(), torch.tensor([[0.0], [0.4], [0.8]], dtype=torch.float64)
    optimizer = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive())
    optimizer.step(goal)
    assert '3 independent problems' in optimizer.structure
    result = optimizer.optimize(goal)
    assert 'one dense problem' in result.stats.structure and result.status.converged
    dense = Crowd()
    expected = pp.optim.LM(dense, structure='dense').optimize(goal)
    torch.testing.assert_close(model.x, dense.x, rtol=0, atol=1e-6)
    torch.testing.assert_close(result.value, expected.value, rtol=1e-9, atol=0)


def test_gathers_may_change_from_step_to_step():
    model = Poses((5,), lambda pose, x: inversion(pose[x[1]], x[0]))
    optimizer = pp.optim.GN(model, pp.optim.solver.Cholesky())
    start = model.pose.detach().clone()
    for index in (INDEX, INDEX.flip(0), (INDEX + 1) % 5):
        x = poses(8)
        with torch.no_grad():
            model.pose.copy_(start)
        optimizer.step(((x, index),))
        pose = model.pose.detach().tensor().clone()
        with torch.no_grad():
            model.pose.copy_(start)
        pp.optim.GN(model, pp.optim.solver.Cholesky(), structure='dense').step(((x, index),))
        torch.testing.assert_close(pose, model.pose.detach().tensor(), rtol=1e-8, atol=1e-10)
        assert 'gathered' in optimizer.structure


class OnlyBackward(torch.autograd.Function):
    """The identity, with a first derivative in reverse mode and no other."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g.clone()


def test_without_forward_mode_order_is_found_and_gathers_are_dense():
    found = structure_of(Poses((5,), lambda pose, x: OnlyBackward.apply(inversion(pose, x))), poses(5))
    assert found.batch == (5,)
    model = Poses((5,), lambda pose, x: OnlyBackward.apply(inversion(pose[INDEX], x)))
    found = structure_of(model, poses(8))
    assert found.batch == () and 'forward mode' in found.sentence
    optimizer = pp.optim.LM(model, vectorize=False)
    assert float(optimizer.step(poses(8))) < float(optimizer.last)


def test_asking_does_not_touch_the_random_numbers_of_the_caller():
    torch.manual_seed(3)
    expected = torch.rand(1)
    model, x = Poses((5,), lambda pose, x: inversion(pose[INDEX], x)), poses(8)
    torch.manual_seed(3)
    pp.optim.LM(model).step(x)
    assert torch.equal(torch.rand(1), expected)
