"""An incremental graph against the batch solution of the same factors: exact where it may not approximate."""
import math

import pytest
import torch

from pypose_core import native
from pypose_core.graph import (
    SE2,
    SE3,
    Between,
    Euclidean,
    FactorGraph,
    IncrementalConfig,
    IncrementalGraph,
    IncrementalStatus,
    Landmark,
    Prior,
    Residual,
    RobustKernel,
)
from pypose_core.lie import se2

GROUPS = {'SE2': SE2, 'SE3': SE3, 'R3': Euclidean(3)}
EXACT = IncrementalConfig(relinearize_threshold=0, wildfire_threshold=0)
FROZEN = IncrementalConfig(relinearize_threshold=math.inf, wildfire_threshold=0)

#: What only the kernels keep: where factors were linearized before.
needs_kernels = pytest.mark.skipif(not native.available, reason=(
    f'without the native kernels each update linearizes all factors anew: {native.status}'))


class Walk:
    """Poses along a random walk with odometry, loop closures into the past and a prior on the first."""

    def __init__(self, group, count=60, noise=0.02, seed=0, **kernel):
        g = torch.Generator().manual_seed(seed)

        def random(n, scale):
            return scale * torch.randn(n, group.dof, generator=g, dtype=torch.float64)

        X = [torch.tensor(group.identity, dtype=torch.float64)]
        for d in random(count - 1, 0.5):
            X.append(group.retract(X[-1], d))
        self.group, self.truth, self.generator = group, torch.stack(X), g
        self.guess = group.retract(self.truth, random(count, 0.03))
        pairs = [[k, k + 1] for k in range(count - 1)]
        pairs += [[int(torch.randint(k - 2, (1,), generator=g)), k] for k in range(5, count, 2)]
        self.index = torch.tensor(sorted(pairs, key=max))
        Z = group.relative(self.truth[self.index[:, 0]], self.truth[self.index[:, 1]])
        self.measured = group.retract(Z, random(len(Z), noise))
        A = torch.randn(len(Z), group.dof, group.dof, generator=g, dtype=torch.float64)
        self.information = (A @ A.mT / group.dof + torch.eye(group.dof)) / noise ** 2
        self.kernel = kernel

    def prior(self):
        return Prior('x', torch.tensor([0]), self.truth[0], information=1e4 * torch.eye(self.group.dof))

    def between(self, rows):
        return Between('x', self.index[rows], self.measured[rows], information=self.information[rows], **self.kernel)

    def steps(self):
        """(number of the pose, its measurements to earlier ones)"""
        for k in range(1, len(self.truth)):
            yield k, self.between((self.index.max(1).values == k).nonzero()[:, 0])

    def grow(self, config):
        graph = IncrementalGraph({'x': self.group}, config)
        assert graph.update([self.prior()], {'x': self.guess[:1]}).status.ok
        for k, factors in self.steps():
            done = graph.update([factors], {'x': self.guess[k:k + 1]})
            assert done.status.ok, str(done)
            yield k, graph, done


def dense_step(batch):
    """The values after one step of Gauss-Newton, by a dense solve."""
    problem = batch.problem()
    _, _, H, g = problem.linearize(batch.values)
    d = -torch.linalg.solve(H.to_dense(), g)
    moved = {}
    for name, X in batch.values.items():
        free, group = problem.column[name] >= 0, batch.groups[name]
        moved[name] = X.clone()
        moved[name][free] = group.retract(X[free], d[problem.column[name][free][:, None] + torch.arange(group.dof)])
    return moved


def linear_solution(graph, guess):
    """The estimate with all factors linearized at the guess."""
    batch = graph.factor_graph()
    batch.set_values('x', guess)
    return dense_step(batch)['x']


def converged(graph):
    """Updates until nothing moves."""
    for _ in range(1000):
        before = graph.values('x')
        assert graph.update().status.ok
        if (graph.values('x') - before).abs().max() < 1e-13:
            return graph.values('x')
    raise AssertionError('it does not converge')


def optimum(graph):
    """The batch solution, polished beyond what differences of costs can see."""
    batch = graph.factor_graph()
    assert batch.optimize().status.ok
    for _ in range(4):
        for name, values in dense_step(batch).items():
            batch.set_values(name, values)
    return batch.values


@pytest.mark.parametrize('name', [pytest.param('SE2', marks=needs_kernels), pytest.param('SE3', marks=needs_kernels),
                                  'R3'])
def test_every_step_solves_the_linearized_graph_exactly(name):
    walk = Walk(GROUPS[name])
    for k, graph, _ in walk.grow(FROZEN):
        torch.testing.assert_close(graph.values('x'), linear_solution(graph, walk.guess[:k + 1]), atol=1e-9, rtol=0)


@pytest.mark.parametrize('kernel', [{}, {'kernel': RobustKernel.HUBER, 'width': 1.0},
                                    {'kernel': RobustKernel.CAUCHY, 'width': 4.0}], ids=['none', 'huber', 'cauchy'])
@pytest.mark.parametrize('name', ['SE2', 'SE3'])
def test_without_thresholds_it_reaches_the_batch_optimum(name, kernel):
    walk = Walk(GROUPS[name], count=60 if native.available else 30, **kernel)
    for k, graph, _ in walk.grow(EXACT):
        if k % 15 == 14:
            values, batch = converged(graph), graph.factor_graph()
            torch.testing.assert_close(values, dense_step(batch)['x'], atol=1e-9, rtol=0)
            batch.set_values('x', walk.guess[:k + 1])
            assert batch.optimize().stats.cost[-1] == pytest.approx(graph.cost(), rel=1e-5)
            if not kernel:
                torch.testing.assert_close(values, optimum(graph)['x'], atol=1e-9, rtol=0)


@pytest.mark.parametrize('name', ['SE2', 'SE3'])
def test_thresholds_cost_less_than_a_percent(name):
    walk = Walk(GROUPS[name], noise=0.05)
    for k, graph, _ in walk.grow(IncrementalConfig()):
        if k % 10 == 9:
            batch = graph.factor_graph()
            assert graph.cost() <= 1.01 * batch.optimize().stats.cost[-1] + 1e-3
            assert (walk.group.difference(batch.values['x'], graph.values('x')).abs() < 0.1).all()


@pytest.mark.parametrize('name', [pytest.param('SE2', marks=needs_kernels), pytest.param('SE3', marks=needs_kernels),
                                  'R3'])
def test_random_additions_and_removals_keep_it_exact(name):
    walk, ids = Walk(GROUPS[name], seed=1), []
    graph = IncrementalGraph({'x': walk.group}, FROZEN)
    graph.update([walk.prior()], {'x': walk.guess[:1]})
    for k, factors in walk.steps():
        loops = (factors.index[:, 1] - factors.index[:, 0]).abs() > 1
        gone = [ids.pop(int(torch.randint(len(ids), (1,), generator=walk.generator)))] if len(ids) > 3 else []
        done = graph.update([factors], {'x': walk.guess[k:k + 1]}, remove=gone)
        assert done.status.ok, str(done)
        ids += done.factors[0][loops].tolist()
        assert done.stats.factors == sum(map(len, graph.factor_graph().factors))
        torch.testing.assert_close(graph.values('x'), linear_solution(graph, walk.guess[:k + 1]), atol=1e-9, rtol=0)
    assert graph.update(remove=ids).status.ok
    torch.testing.assert_close(graph.values('x'), linear_solution(graph, walk.guess), atol=1e-9, rtol=0)


def test_a_removed_false_closure_leaves_no_trace():
    walk = Walk(SE2)
    *_, (_, graph, _) = walk.grow(EXACT)
    before = converged(graph)
    false = Between('x', torch.tensor([[3, 40]]), torch.tensor([5., 5, 1, 0]), information=1e4 * torch.eye(3))
    done = graph.update([false])
    assert (graph.values('x') - before).abs().max() > 0.1
    assert graph.update(remove=done.factors[0]).status.ok
    torch.testing.assert_close(converged(graph), before, atol=1e-9, rtol=0)


def test_growth_is_deterministic():
    runs = []
    for _ in range(2):
        *_, (_, graph, done) = Walk(SE3).grow(IncrementalConfig())
        runs.append((graph.values('x'), done.stats.cost, done.stats.affected))
    assert torch.equal(runs[0][0], runs[1][0]) and runs[0][1:] == runs[1][1:]


@needs_kernels
def test_work_is_bounded_on_a_long_chain():
    graph = IncrementalGraph({'x': SE2})
    step = torch.tensor([1., 0, 1, 0], dtype=torch.float64)
    graph.update([Prior('x', torch.tensor([0]), torch.tensor(SE2.identity))], {'x': torch.tensor([SE2.identity])})
    for k in range(1, 400):
        X = torch.tensor([[k, 0., 1., 0.]], dtype=torch.float64)
        done = graph.update([Between('x', torch.tensor([[k - 1, k]]), step)], {'x': X})
        assert done.stats.affected <= 42 and done.stats.solved <= 42 and done.stats.linearized == 1
    assert done.stats.variables == 400 and done.stats.cost < 1e-20


@needs_kernels
def test_only_what_moved_is_linearized_anew():
    walk = Walk(SE2, noise=0.0001)
    for _, _, done in walk.grow(IncrementalConfig(relinearize_threshold=10)):
        assert done.stats.relinearized == 0
    *_, (_, graph, done) = walk.grow(IncrementalConfig(relinearize_threshold=1e-3))
    assert 0 < done.stats.relinearized < 60 and done.stats.linearized < len(walk.index)
    assert graph.chi2() == pytest.approx(graph.factor_graph().optimize().stats.chi2, rel=0.02)


def test_cost_of_the_linearized_factors_is_their_least():
    walk = Walk(Euclidean(3))      # linear: the cost itself
    for _, graph, done in walk.grow(FROZEN):
        assert done.stats.cost == pytest.approx(graph.cost(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize('name', ['SE2', 'SE3'])
def test_covariances_equal_those_of_the_batch(name):
    walk = Walk(GROUPS[name], count=30)
    *_, (_, graph, _) = walk.grow(EXACT)
    converged(graph)
    marginals = graph.factor_graph().marginals()
    expected = marginals.covariance('x')
    for k in (0, 13, 29):
        torch.testing.assert_close(graph.covariance('x', k), expected[k], rtol=1e-6, atol=1e-12)
    for i, j in ((28, 29), (3, 20), (20, 3)):
        torch.testing.assert_close(graph.joint(('x', i), ('x', j)), marginals.joint(('x', i), ('x', j)), rtol=1e-6,
                                   atol=1e-12)


def test_held_variables_stay_and_have_no_covariance():
    walk = Walk(SE2)
    graph = IncrementalGraph({'x': SE2}, EXACT)
    graph.update([], {'x': walk.truth[:1]}, held={'x': [0]})
    for k, factors in walk.steps():
        assert graph.update([factors], {'x': walk.guess[k:k + 1]}).status.ok
    assert torch.equal(graph.value('x', 0), walk.truth[0]) and not graph.covariance('x', 0).any()
    joint = graph.joint(('x', 0), ('x', 5))
    assert not joint[:3].any() and not joint[:, :3].any()
    torch.testing.assert_close(joint[3:, 3:], graph.covariance('x', 5))
    torch.testing.assert_close(converged(graph), optimum(graph)['x'], atol=1e-9, rtol=0)


def test_landmarks_and_residuals_of_the_user_enter():
    walk = Walk(SE2, count=20)
    points = 3 * torch.randn(6, 2, generator=walk.generator, dtype=torch.float64)

    def seen(pose, point, observed):
        return se2.act(se2.inv(pose), point) - observed

    graph = IncrementalGraph({'x': SE2, 'landmark': Euclidean(2)}, EXACT)
    graph.update([walk.prior()], {'x': walk.guess[:1]})
    for k, factors in walk.steps():
        landmark = (k - 1) % 6
        observed = se2.act(se2.inv(walk.truth[k]), points[landmark])
        new = {'landmark': points[landmark][None] + 0.3} if k <= 6 else {}
        if k % 5:
            sighting = Landmark(('x', 'landmark'), torch.tensor([[k, landmark]]), observed[None],
                                information=400 * torch.eye(2))
        else:
            sighting = Residual(seen, ('x', 'landmark'), torch.tensor([[k, landmark]]), data=(observed[None],),
                                sqrt_information=20 * torch.eye(2))
        done = graph.update([factors, sighting], {'x': walk.guess[k:k + 1]} | new)
        assert done.status.ok, str(done)
    converged(graph)
    batch = graph.factor_graph()
    assert len(batch.factors) == 2 + 19 and batch.cost() == pytest.approx(graph.cost())
    expected = optimum(graph)
    for name in ('x', 'landmark'):
        torch.testing.assert_close(graph.values(name), expected[name], atol=1e-9, rtol=0)
    assert graph.update(remove=done.factors[1]).status.ok and len(graph.factor_graph().factors) == 2 + 18


@pytest.mark.parametrize('name', ['SE2', 'SE3'])
def test_batch_optimization_goes_on_from_the_optimum(name):
    walk = Walk(GROUPS[name])
    for k, graph, _ in walk.grow(IncrementalConfig()):
        if k == 40:
            result = graph.batch_optimize()
            torch.testing.assert_close(graph.values('x'), result.value['x'], atol=1e-4, rtol=0)
            if native.available:
                assert graph.update().stats.affected == 0
    assert graph.cost() <= 1.01 * graph.factor_graph().optimize().stats.cost[-1]


def test_a_batch_graph_continues_incrementally():
    walk = Walk(SE3)
    batch = FactorGraph()
    batch.add_variables('x', SE3, walk.guess[:50])
    batch.fix('x', [0])
    batch.add(walk.between((walk.index.max(1).values < 50).nonzero()[:, 0]))
    batch.optimize()
    graph = IncrementalGraph.from_graph(batch, EXACT)
    torch.testing.assert_close(graph.values('x'), batch.values['x'], atol=1e-4, rtol=0)
    for k, factors in walk.steps():
        if k >= 50:
            assert graph.update([factors], {'x': walk.guess[k:k + 1]}).status.ok
    torch.testing.assert_close(converged(graph), optimum(graph)['x'], atol=1e-9, rtol=0)


def test_status_is_a_sentence():
    *_, (_, graph, done) = Walk(SE2, count=10).grow(IncrementalConfig())
    assert done.status is IncrementalStatus.UPDATED and 'of 10 variables eliminated' in str(done)
    assert 'IncrementalGraph(10 x in SE2; ' in repr(graph)
