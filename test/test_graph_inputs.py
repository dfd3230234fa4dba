"""What users get wrong is told in a sentence, and what can be put right is."""
import pytest
import torch

from pypose_core.graph import (
    SE2,
    SE3,
    Between,
    FactorGraph,
    GraphStatus,
    LevenbergMarquardt,
    Prior,
    chordal_initialization,
    read_g2o,
)
from pypose_core.linalg import NotPositiveDefinite

ONE = torch.tensor(SE3.identity, dtype=torch.float64)


def poses(count=4):
    graph = FactorGraph()
    graph.add_variables('x', SE3, ONE.repeat(count, 1))
    return graph


@pytest.mark.parametrize('make, told', [
    (lambda: Between('x', [[0, 1], [1, 2]], torch.stack([ONE, 0 * ONE])), 'measured 1 has no rotation'),
    (lambda: Between('x', [[0, 1], [1, 2]], torch.stack([ONE, torch.nan * ONE])), 'measured 1 is not finite'),
    (lambda: Between('x', [[0.5, 1]], ONE), 'index must be integers'),
    (lambda: Between('x', [[0, 1], [1, 2]], ONE, weight=torch.tensor([1., -1.])), 'weight 1 is -1.0'),
    (lambda: Between('x', [[0, 1], [1, 2]], ONE, weight=torch.tensor([torch.nan, 1.])), 'weight 0 is nan'),
    (lambda: Between('x', [[0, 2 ** 62]], ONE), 'outside x'),
    (lambda: Between('y', [[0, 1]], ONE), "no variables 'y'"),
])
def test_wrong_factors_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        poses().add(make())


def test_rotations_of_measurements_are_normalised():
    graph = poses(2)
    graph.fix('x', [0])
    turned = torch.tensor([1., 2., 3., 0.1, 0.2, 0.3, 0.9], dtype=torch.float64)
    graph.add(Between('x', [[0, 1]], 3 * turned))
    value = graph.optimize().value['x'][1]
    torch.testing.assert_close(value[3:], turned[3:] / turned[3:].norm())


@pytest.mark.parametrize('call, told', [
    (lambda graph: graph.fix('y', [0]), "no variables 'y'"),
    (lambda graph: graph.fix('x', [4]), r'only x\[0:4\] can be fixed'),
    (lambda graph: chordal_initialization(graph, 'y'), "no variables 'y'"),
])
def test_what_is_not_there_is_named(call, told):
    with pytest.raises(ValueError, match=told):
        call(poses())


def test_covariances_name_the_variable_that_has_none():
    graph = poses(3)
    graph.add(Prior('x', [0], ONE))
    graph.add(Between('x', [[0, 1]], ONE))
    with pytest.raises(NotPositiveDefinite, match=r'x\[2\]'):
        graph.marginals()


def test_the_time_limit_ends_after_a_step():
    graph = poses(3)
    graph.add(Prior('x', [0], ONE))
    far = SE3.retract(ONE, torch.tensor([3., 1, 2, 0.4, 0.5, -0.6], dtype=torch.float64))
    graph.add(Between('x', [[0, 1], [1, 2]], far))
    graph.add(Between('x', [[2, 0]], ONE))
    result = graph.optimize(LevenbergMarquardt(time_limit=0.0, tolerance=0.0, absolute_tolerance=0.0))
    assert result.status is GraphStatus.TIME_LIMIT and result.stats.iterations == 1


def test_files_of_other_editors_are_read(tmp_path):
    text = 'VERTEX_SE2 0 0 0 0\r\nVERTEX_SE2 1 0 0 0\r\nEDGE_SE2 0 1 1 0 0 1 0 0 1 0 1\r\n'
    path = tmp_path / 'graph.g2o'
    path.write_bytes(b'\xef\xbb\xbf' + text.encode())
    graph = read_g2o(path).graph
    assert graph.groups['SE2'] is SE2 and graph.optimize().stats.chi2 < 1e-20
