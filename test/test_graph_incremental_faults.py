"""An update of an incremental graph that cannot be made says why, and leaves no trace."""
import threading

import pytest
import torch
from test_graph_incremental import EXACT, Walk

from pypose_core.graph import (
    NAV_STATE,
    SE2,
    SE3,
    SIM3,
    Between,
    Euclidean,
    IncrementalConfig,
    IncrementalGraph,
    IncrementalStatus,
    Prior,
    Residual,
)


def grown(config=None, group=SE2):
    walk = Walk(group)
    for k, graph, _ in walk.grow(config or IncrementalConfig(relinearize_threshold=1e-3)):
        if k == 40:
            return walk, graph


def pose(count=1):
    return torch.tensor([SE2.identity] * count, dtype=torch.float64)


def failing_updates():
    loose = {'new_values': {'x': pose(2)}, 'new_factors': [Between('x', torch.tensor([[41, 42]]), pose()[0])]}
    flat = {'new_values': {'x': pose()}, 'new_factors': [
        Between('x', torch.tensor([[3, 41]]), pose()[0], information=torch.diag(torch.tensor([1., 1., 0.])))]}
    infinite = {'new_factors': [Residual(lambda X: X[:2] / 0, ('x',), torch.tensor([7]))]}
    return [('loose', loose, IncrementalStatus.UNDETERMINED, 'x[41]'),
            ('flat', flat, IncrementalStatus.NOT_POSITIVE_DEFINITE, 'x[41]'),
            ('infinite', infinite, IncrementalStatus.NOT_FINITE, 'x[7]')]


@pytest.mark.parametrize('name, update, status, detail', failing_updates(), ids=lambda x: x if type(x) is str else '')
def test_a_failed_update_names_the_variable_and_leaves_no_trace(name, update, status, detail):
    (walk, graph), (_, twin) = grown(), grown()
    before, cost = graph.values('x'), graph.cost()
    for _ in range(2):
        done = graph.update(**update)
        assert done.status is status and done.detail == detail and detail in str(done) and not done.factors
        assert torch.equal(graph.values('x'), before) and graph.cost() == cost and graph.count('x') == 41
    for k, factors in walk.steps():
        if k > 40:
            for one in (graph, twin):
                assert one.update([factors], {'x': walk.guess[k:k + 1]}).status.ok
    torch.testing.assert_close(graph.values('x'), twin.values('x'), atol=1e-12, rtol=0)
    torch.testing.assert_close(graph.covariance('x', 30), twin.covariance('x', 30))


def test_removing_what_determines_a_variable_is_refused():
    graph = IncrementalGraph({'x': SE2})
    prior = graph.update([Prior('x', torch.tensor([0]), pose()[0])], {'x': pose()}).factors[0]
    odometry = graph.update([Between('x', torch.tensor([[0, 1]]), pose()[0])], {'x': pose()}).factors[0]
    for gone, detail in ((prior, 'x[0]'), (odometry, 'x[1]')):
        done = graph.update(remove=gone)
        assert done.status is IncrementalStatus.UNDETERMINED and done.detail == detail
        assert done.stats.factors == 2
    other = graph.update([Prior('x', torch.tensor([1]), pose()[0])])
    assert graph.update(remove=prior).status.ok and other.status.ok


def test_an_error_in_a_residual_leaves_no_trace():
    _, graph = grown()
    before = graph.values('x')

    def broken(X):
        raise RuntimeError('no such sensor')

    with pytest.raises(RuntimeError, match='no such sensor'):
        graph.update([Residual(broken, ('x',), torch.tensor([7]))], {'x': pose()})
    assert torch.equal(graph.values('x'), before) and graph.count('x') == 41 and graph.update().status.ok


@pytest.mark.parametrize('arguments, message', [
    ({'new_values': {'y': pose()}}, 'no variables'),
    ({'new_values': {'x': pose()[:, :3]}}, r'shape \(n, 4\)'),
    ({'new_values': {'x': pose() * 0}}, r'x\[41\] is not finite, or has a rotation of norm 0'),
    ({'new_values': {'x': pose() * float('nan')}}, r'x\[41\] is not finite'),
    ({'new_values': {'x': pose()}, 'held': {'x': [3]}}, 'only new variables'),
    ({'held': {'x': [3]}}, 'only new variables'),
    ({'new_factors': [Between('x', torch.tensor([[3, 41]]), pose()[0])]}, 'no variable 41'),
    ({'new_factors': [Between('z', torch.tensor([[3, 4]]), pose()[0])]}, 'no variables'),
    ({'new_factors': [Prior('x', torch.tensor([3]), torch.zeros(7))]}, 'shape'),
    ({'remove': [4000]}, 'no factor 4000'),
    ({'remove': [3, 3]}, 'no factor 3'),
], ids=lambda x: '' if isinstance(x, dict) else x)
def test_what_does_not_fit_is_refused_whole(arguments, message):
    _, graph = grown()
    before = graph.values('x')
    with pytest.raises(ValueError, match=message):
        graph.update(**arguments)
    assert torch.equal(graph.values('x'), before) and graph.update().status.ok


def test_unknown_groups_and_thresholds_are_refused():
    with pytest.raises(ValueError, match='Sim3'):
        IncrementalGraph({'x': SIM3})
    with pytest.raises(ValueError, match='must not be negative'):
        IncrementalConfig(wildfire_threshold=-1)
    graph = IncrementalGraph({'x': SE2})
    with pytest.raises(ValueError, match='no variable'):
        graph.value('x', 0)
    assert graph.values('x').shape == (0, 4) and graph.update().status.ok


def test_navigation_states_move_as_in_torch():
    generator = torch.Generator().manual_seed(0)
    d = torch.randn(2, 15, generator=generator, dtype=torch.float64)
    truth = NAV_STATE.retract(torch.tensor([NAV_STATE.identity] * 2, dtype=torch.float64), d)
    graph = IncrementalGraph({'s': NAV_STATE, 'b': Euclidean(6)}, EXACT)
    graph.update([Prior('s', torch.tensor([0]), truth[0]),
                  Between('s', torch.tensor([[0, 1]]), NAV_STATE.relative(truth[0], truth[1]))],
                 {'s': torch.tensor([NAV_STATE.identity] * 2)})
    for _ in range(8):
        graph.update()
    assert NAV_STATE.difference(truth, graph.values('s')).abs().max() < 1e-9


def test_other_threads_read_while_one_updates():
    walk, stop, seen = Walk(SE3, count=200), threading.Event(), []
    graph = IncrementalGraph({'x': SE3})
    graph.update([walk.prior()], {'x': walk.guess[:1]})

    def read():
        while not stop.is_set():
            values = graph.values('x')
            seen.append((len(values), bool(values.isfinite().all())))

    reader = threading.Thread(target=read)
    reader.start()
    for k, factors in walk.steps():
        assert graph.update([factors], {'x': walk.guess[k:k + 1]}).status.ok
    stop.set()
    reader.join()
    assert all(finite for _, finite in seen) and sorted(seen) == seen and len(seen) > 1
