"""A graph of many small parts: each is solved as if it were alone."""
import pytest
import torch

from pypose_core.graph import (
    SE2,
    SE3,
    Between,
    Dogleg,
    FactorGraph,
    GraphStatus,
    LevenbergMarquardt,
    Prior,
    RobustKernel,
)
from pypose_core.graph.small_graphs import LARGEST_PART
from pypose_core.native import available, status

needs_native = pytest.mark.skipif(not available, reason=status)   # the reference solves all parts as one problem


def parts_of(group, sizes, *, seed=0, noise=0.05, start=0.2, **kernel):
    """(graph of loops of these sizes, the variables of each); every third hangs on a prior, the others are held."""
    g = torch.Generator().manual_seed(seed)
    graph, first, index, measured, priors, held = FactorGraph(), 0, [], [], [], []
    values = []

    def random(n, scale):
        return scale * torch.randn(n, group.dof, generator=g, dtype=torch.float64)

    for part, size in enumerate(sizes):
        X = group.retract(torch.tensor([group.identity] * size, dtype=torch.float64), random(size, 1.0))
        pairs = torch.tensor([[k, (k + 1) % size] for k in range(size)] + [[k, k + 2] for k in range(0, size - 2, 2)])
        Z = group.relative(X[pairs[:, 0]], X[pairs[:, 1]])
        measured.append(group.retract(Z, random(len(Z), noise)))
        index.append(pairs + first)
        (held if part % 3 else priors).append((first, X[0]))
        values.append(torch.cat([X[:1], group.retract(X[1:], random(size - 1, start))]))
        first += size
    graph.add_variables('x', group, torch.cat(values))
    if held:
        graph.fix('x', [k for k, _ in held])
    graph.add(Prior('x', torch.tensor([k for k, _ in priors]), torch.stack([X for _, X in priors])))
    graph.add(Between('x', torch.cat(index), torch.cat(measured), information=torch.eye(group.dof) / noise ** 2,
                      **kernel))
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return graph, [slice(end - size, end) for size, end in zip(sizes, ends)]


def alone(graph, rows):
    """One part as a graph of its own, solved by the sparse solver."""
    one = FactorGraph()
    name, = graph.groups
    one.add_variables(name, graph.groups[name], graph.values[name][rows])
    one.fix(name, graph.held[name][rows].nonzero()[:, 0])
    for f in graph.factors:
        some = ((f.index >= rows.start) & (f.index < rows.stop)).all(1).nonzero()[:, 0]
        if len(some):
            part = f.select(some)
            part.index = part.index - rows.start
            one.add(part)
    return LevenbergMarquardt().run(one.problem(), one.values)


@needs_native
@pytest.mark.parametrize('kernel', [{}, {'kernel': RobustKernel.HUBER, 'width': 3.0}], ids=['squares', 'huber'])
@pytest.mark.parametrize('group', [SE2, SE3], ids=str)
def test_each_part_is_solved_as_if_alone(group, kernel):
    graph, parts = parts_of(group, [5, 9, 9, 5, 3, 20, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 5, 40], **kernel)
    expected = [alone(graph, rows) for rows in parts]
    result = graph.optimize()
    assert result.stats.parts is not None and result.status is GraphStatus.CONVERGED, str(result)
    for k, (rows, one) in enumerate(zip(parts, expected)):
        assert result.stats.parts.first[k] == rows.start
        assert result.stats.parts.status[k] is one.status and result.stats.parts.iterations[k] == one.stats.iterations
        assert float(result.stats.parts.cost[k]) == pytest.approx(one.stats.cost[-1], rel=1e-9)
        assert float(result.stats.parts.chi2[k]) == pytest.approx(one.stats.chi2, rel=1e-9)
        torch.testing.assert_close(result.value['x'][rows], one.value['x'], atol=1e-8, rtol=0)
    assert result.stats.chi2 == pytest.approx(graph.chi2()) and result.stats.cost[-1] == pytest.approx(graph.cost())


@needs_native
def test_a_hard_part_has_its_own_damping():
    graph, parts = parts_of(SE3, [9] * 16, start=0.05)
    hard, _ = parts_of(SE3, [9] * 16, start=2.0, seed=3)
    values = graph.values['x'].clone()
    values[parts[7]] = SE3.retract(values[parts[7]],
                                   2 * torch.randn(9, 6, generator=torch.Generator().manual_seed(1)).double())
    values[parts[7].start] = graph.values['x'][parts[7].start]
    graph.set_values('x', values)
    iterations = graph.optimize().stats.parts.iterations
    easy = torch.arange(16) != 7
    assert iterations[7] > iterations[easy].max()
    expected = [alone(hard, rows) for rows in parts]
    result = hard.optimize()
    for k, one in enumerate(expected):
        assert float(result.stats.parts.cost[k]) == pytest.approx(one.stats.cost[-1], rel=1e-4)


@needs_native
def test_a_part_that_is_not_determined_is_named_and_the_others_solved():
    graph, parts = parts_of(SE2, [5] * 12)
    graph.add_variables('x', SE2, torch.tensor([SE2.identity] * 2))
    graph.fix('x', [60])
    graph.add(Between('x', torch.tensor([[60, 61]]), torch.tensor(SE2.identity),
                      information=torch.diag(torch.tensor([1., 0., 1.]))))
    result = graph.optimize()
    assert result.status is GraphStatus.NOT_POSITIVE_DEFINITE and result.detail == 'x[61]', str(result)
    assert all(status is GraphStatus.CONVERGED for status in result.stats.parts.status[:12])
    graph.values['x'][7, 0] = float('nan')
    result = graph.optimize()
    assert result.stats.parts.status[1] is GraphStatus.NOT_FINITE and result.detail == 'x[5]'


@needs_native
def test_the_iteration_limit_is_of_each_part():
    graph, _ = parts_of(SE3, [9] * 10)
    result = graph.optimize(LevenbergMarquardt(max_iterations=1))
    assert result.status is GraphStatus.ITERATION_LIMIT and set(result.stats.parts.iterations.tolist()) == {1}


@pytest.mark.parametrize('change', ['few', 'large', 'loose', 'other solver'])
def test_other_graphs_are_solved_as_one(change):
    graph, _ = parts_of(SE2, {'few': [9] * 3, 'large': [5] * 10 + [LARGEST_PART + 1]}.get(change, [9] * 10))
    solver = None
    if change == 'loose':
        graph.add_variables('x', SE2, torch.tensor([SE2.identity]))
        result = graph.optimize()
        assert result.status is GraphStatus.UNDETERMINED and result.detail == 'x[90]'
    else:
        if change == 'other solver':
            solver = Dogleg()
        result = graph.optimize(solver)
        assert result.status is GraphStatus.CONVERGED
    assert result.stats.parts is None
