"""BilevelTrainer over each kind of lower level, each kind of gradient and each kind of supervision.

The front-end is the same everywhere: one number, by which what a sensor says is multiplied. It is to become 0.9.
"""
import pytest
import torch

import pypose_core as pp
from pypose_core.control import OCP, LeastSquares
from pypose_core.convex import solve_qp
from pypose_core.filter import smooth
from pypose_core.graph import SE2, Between, FactorGraph, Prior, SolverLayer
from pypose_core.learning import BilevelTrainer, TrainingConfig
from pypose_core.lie import se2

f64 = {'dtype': torch.float64}
GAIN, COUNT, POSES = 0.9, 4, 7


class Gain(torch.nn.Module):
    """Any module of a user's."""

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.ones((), **f64))

    def forward(self, said):
        return self.value * said


class Lessons:
    """What a sensor said (COUNT, ...), and what was so."""

    def __init__(self, said, true):
        self.said, self.true = said, true

    def __len__(self) -> int:
        return len(self.said)

    def __getitem__(self, index):
        return self.said[index], self.true[index]


def random(*shape: int, seed: int = 0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **f64)


def learned(lower, lessons, loss, *, seed: int = 1):
    """The number found, and the history."""
    network = Gain()
    config = TrainingConfig(epochs=14, batch_size=2, learning_rate=0.02, weight_decay=0.0, warmup=0.0, seed=seed)
    history = BilevelTrainer(network, lower, loss, config).fit(lessons)
    return network.value.item(), history


def to_truth(solution, batch):
    return (solution - batch[1]).square().mean()


def least_squares():
    """Dense: x nearest to three readings of it, and to a prior."""
    layer = pp.optim.SolverLayer(lambda x, z: torch.cat([(z - x[..., None, :]).flatten(-2), 1e-3 * x], -1))

    def lower(network, batch):
        return layer(torch.zeros_like(batch[1]), network(batch[0]))

    true = random(COUNT, 2)
    return lower, Lessons((true[:, None] + 0.01 * random(COUNT, 3, 2, seed=1)) / GAIN, true)


def quadratic_program():
    """x nearest to a reading, of those below a bound that half of the time matters."""
    def lower(network, batch):
        return solve_qp(torch.eye(3, **f64), -network(batch[0]), torch.eye(3, **f64), torch.ones(3, **f64)).x

    wanted = random(COUNT, 3)
    return lower, Lessons(wanted / GAIN, wanted.clamp(max=1.0))


def optimal_control():
    """The way to a goal, which a sensor measures."""
    ocp = OCP(lambda x, u, p: x + 0.2 * u, state=2, control=2, horizon=5, parameters={'goal': (2,)},
              stage_cost=LeastSquares(lambda x, u, p: torch.cat([x - p.goal, 0.3 * u], -1)),
              terminal_cost=LeastSquares(lambda x, p: x - p.goal))

    def lower(network, batch):
        goal = network(batch[0])[:, None].expand(-1, 6, -1)
        return ocp.solve(torch.zeros_like(batch[0]), parameters={'goal': goal}, start='roll').states[:, -1]

    goal = random(COUNT, 2)
    found = ocp.solve(torch.zeros_like(goal), parameters={'goal': goal[:, None].expand(-1, 6, -1)}, start='roll')
    return lower, Lessons(goal / GAIN, found.states[:, -1])


def kalman_filter():
    """Positions of what moves on a line, filtered; the last state is judged."""
    class Line(pp.module.NLS):
        def state_transition(self, state, input, t=None):
            return torch.stack([state[..., 0] + 0.1 * state[..., 1], state[..., 1]], -1)

        def observation(self, state, input, t=None):
            return state[..., :1]

    filter = pp.module.EKF(Line(), 1e-6 * torch.eye(2, **f64), 1e-2 * torch.eye(1, **f64))

    def lower(network, batch):
        z = network(batch[0]).mT[..., None]
        count = z.shape[1]
        return smooth(filter, torch.zeros(count, 2, **f64), z, torch.zeros(len(z), count, 1, **f64),
                      4 * torch.eye(2, **f64).expand(count, 2, 2))[1].x[-1]

    start, speed = random(2, COUNT)
    true = start[:, None] + speed[:, None] * 0.1 * torch.arange(1, 31)
    return lower, Lessons(true / GAIN, torch.stack([true[:, -1], speed], -1))


@pytest.mark.parametrize('problem', [least_squares, quadratic_program, optimal_control, kalman_filter])
def test_any_differentiable_solver_or_estimator_is_a_lower_level(problem):
    lower, lessons = problem()
    found, history = learned(lower, lessons, to_truth)
    assert abs(found - GAIN) < 0.02 and history[-1].loss_train < 0.2 * history[0].loss_train


def test_losses_of_two_runs_by_one_seed_are_equal_to_the_last_bit():
    lower, lessons = optimal_control()
    one, two, other = (learned(lower, lessons, to_truth, seed=seed) for seed in (1, 1, 2))
    assert one == two and one[1] != other[1]


def pose_graph(gradient: str):
    """Wheels that say too much, and fixes of each third pose; the solution is (poses, wheels' steps, fixes)."""
    pairs = torch.stack([torch.arange(POSES - 1), torch.arange(1, POSES)], -1)
    fixed = torch.arange(0, POSES, 3)
    steps = torch.stack([0.5 + 0.1 * random(COUNT, POSES - 1), 0 * random(COUNT, POSES - 1),
                         0.2 * random(COUNT, POSES - 1, seed=2)], -1)
    truth = [torch.tensor([0.0, 0.0, 1.0, 0.0], **f64).expand(COUNT, 4)]
    for k in range(POSES - 1):
        truth.append(se2.mul(truth[-1], se2.exp(steps[:, k])))
    truth = torch.stack(truth, 1)
    said = torch.cat([steps[..., :1] / GAIN, steps[..., 1:]], -1)
    graph = FactorGraph()
    graph.add_variables('pose', SE2, truth[0])
    wheels = graph.add(Between('pose', pairs, se2.exp(said[0]), information=100 * torch.eye(3)))
    fixes = graph.add(Prior('pose', fixed, truth[0, fixed], information=400 * torch.eye(3)))
    layer = SolverLayer(graph, [(wheels, 'measured'), (fixes, 'measured')], gradient=gradient, steps=1)

    def lower(network, batch):
        found = []
        for said, true in zip(*batch):
            measured = se2.exp(torch.cat([network(said[:, :1]), said[:, 1:]], -1))
            found.append((layer(measured, true[fixed], start={'pose': true})['pose'], measured))
        return found

    return lower, Lessons(said, truth), fixed


def by_truth(solutions, batch, fixed):
    return sum((poses[:, :2] - true[:, :2]).square().mean() for (poses, _), true in zip(solutions, batch[1]))


def by_the_back_end(solutions, batch, fixed):
    """The front-end's steps against those between the poses that the graph has found, which count as given."""
    total = torch.zeros((), **f64)
    for poses, measured in solutions:
        poses = poses.detach()
        total = total + SE2.relative(poses[:-1], poses[1:]).sub(measured)[:, :2].square().mean()
    return total


def by_consistency(solutions, batch, fixed):
    """How far the solution has to leave the fixes for the wheels' sake."""
    return sum((poses[fixed, :2] - true[fixed, :2]).square().mean() for (poses, _), true in zip(solutions, batch[1]))


@pytest.mark.parametrize('gradient, loss', [
    ('implicit', by_truth), ('truncated', by_truth), ('unroll', by_truth), ('implicit', by_the_back_end),
    ('implicit', by_consistency), ('truncated', by_consistency)])
def test_a_graph_teaches_by_truth_by_its_own_result_and_by_consistency(gradient, loss):
    """With implicit gradients, and those of one step."""
    lower, lessons, fixed = pose_graph(gradient)
    found, _ = learned(lower, lessons, lambda solutions, batch: loss(solutions, batch, fixed))
    assert abs(found - GAIN) < 0.02
