"""Landmarks in g2o's files, TORO's files: what is read, that writing gives it back, and what is refused."""
import math

import pytest
import torch

from pypose_core.graph import (
    SE2,
    SE3,
    Between,
    Euclidean,
    FactorGraph,
    G2oError,
    GraphFileError,
    Landmark,
    Prior,
    Range,
    read_g2o,
    read_toro,
    write_g2o,
    write_toro,
)
from pypose_core.lie import so3

f64 = torch.float64
PLANE = ('VERTEX_SE2 0 0 0 0', 'VERTEX_SE2 1 1 0 1.5707963267948966', 'VERTEX_XY 7 3 4', 'VERTEX_XY 5 1 2',
         'EDGE_SE2 0 1 1 0 1.5707963267948966 1 0 0 1 0 1', 'EDGE_SE2_XY 0 7 3 4 2 0.5 3', 'EDGE_SE2_XY 1 7 4 -2 1 0 1',
         'EDGE_SE2_XY 1 5 2 0 1 0 1')
UPPER6 = '1 0 0 0 0 0 1 0 0 0 0 1 0 0 0 2 0 0 2 0 2'
SPACE = ('VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1', 'VERTEX_SE3:QUAT 1 1 2 3 0 0 0.6 0.8', 'VERTEX_TRACKXYZ 9 4 5 6',
         f'EDGE_SE3:QUAT 0 1 1 2 3 0 0 0.6 0.8 {UPPER6}', 'PARAMS_SE3OFFSET 3 0.1 0.2 0.3 0 0 0 1',
         'PARAMS_SE3OFFSET 2 0 0 0 0 0 0 1', 'EDGE_SE3_TRACKXYZ 0 9 3 3.9 4.8 5.7 1 0.1 0 1 0 2',
         'EDGE_SE3_TRACKXYZ 0 9 2 4 5 6 1 0 0 1 0 1')


def written(tmp_path, *lines):
    path = tmp_path / 'graph.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_landmarks_of_the_plane_are_read(tmp_path):
    file = read_g2o(written(tmp_path, *PLANE))
    graph, (between, seen) = file.graph, file.graph.factors
    assert file.ids['XY'].tolist() == [5, 7] and file.unknown == {}
    assert graph.values['XY'].tolist() == [[1, 2], [3, 4]]
    assert isinstance(between, Between) and isinstance(seen, Landmark)
    assert seen.variables == ('SE2', 'XY') and seen.index.tolist() == [[0, 1], [1, 1], [1, 0]]
    assert seen.information[0].tolist() == [[2, 0.5], [0.5, 3]]
    assert graph.chi2() == pytest.approx(0, abs=1e-20)
    assert graph.held['SE2'].tolist() == [True, False] and not graph.held['XY'].any()
    graph.set_values('XY', torch.zeros(2, 2))
    assert graph.optimize().status.ok and graph.chi2() < 1e-12


def test_landmarks_of_space_are_seen_by_the_sensor_that_the_parameter_names(tmp_path):
    file = read_g2o(written(tmp_path, *SPACE))
    seen = file.graph.factors[1]
    assert seen.data['sensor'][:, :3].tolist() == [[0.1, 0.2, 0.3], [0, 0, 0]]
    assert seen.information[0].tolist() == [[1, 0.1, 0], [0.1, 1, 0], [0, 0, 2]]
    assert file.graph.chi2() == pytest.approx(0, abs=1e-20)


def test_sensors_that_are_the_body_leave_no_trace(tmp_path):
    file = read_g2o(written(tmp_path, *SPACE[:4], *SPACE[5:6], *SPACE[7:]))
    assert 'sensor' not in file.graph.factors[1].data


@pytest.mark.parametrize('lines', [PLANE, SPACE], ids=['plane', 'space'])
def test_writing_gives_back_landmarks(tmp_path, lines):
    first = read_g2o(written(tmp_path, *lines))
    write_g2o(tmp_path / 'again.g2o', first.graph, ids=first.ids)
    again = read_g2o(tmp_path / 'again.g2o')
    for name, values in first.graph.values.items():
        assert torch.equal(first.ids[name], again.ids[name])
        torch.testing.assert_close(values, again.graph.values[name], rtol=0, atol=1e-15)
    for a, b in zip(first.graph.factors, again.graph.factors):
        assert a.index.tolist() == b.index.tolist() and torch.equal(a.information, b.information)
        for key, x in a.data.items():
            torch.testing.assert_close(x, b.data[key], rtol=0, atol=1e-15)


@pytest.mark.parametrize('lines, fault', [
    ((*PLANE, 'EDGE_SE2_XY 0 6 1 2 1 0 1'), ':9: the edge names vertex 6, which is not there'),
    ((*PLANE, 'EDGE_SE2_XY 7 5 1 2 1 0 1'), ':9: the edge names vertex 7, which is not there'),
    ((*PLANE, 'EDGE_SE2_XY 0 5 1 2 1 0'), ':9: EDGE_SE2_XY: wanted number 3 of 3'),
    ((*PLANE, 'EDGE_SE2_XY 0 5 1 2 1 0 -1'), ':9: the information matrix'),
    ((*PLANE, 'VERTEX_XY 7 0 0'), ':9: vertex 7 is given a second time'),
    ((*SPACE, 'EDGE_SE3_TRACKXYZ 0 9 8 4 5 6 1 0 0 1 0 1'), ':9: the edge names parameter 8, which is not there'),
    ((*SPACE, 'PARAMS_SE3OFFSET 3 0 0 0 0 0 0 1'), ':9: the parameter is given a second time'),
    ((*SPACE, 'VERTEX_TRACKXYZ 10 1 2'), ':9: VERTEX_TRACKXYZ: wanted number 3 of 3'),
])
def test_line_at_fault_is_refused(tmp_path, lines, fault):
    with pytest.raises(G2oError) as raised:
        read_g2o(written(tmp_path, *lines))
    assert fault in str(raised.value)


def test_what_the_formats_do_not_know_is_not_written(tmp_path):
    graph = FactorGraph()
    graph.add_variables('pose', SE2, torch.tensor([SE2.identity]))
    graph.add_variables('point', Euclidean(2), torch.ones(1, 2))
    graph.add(Range(('pose', 'point'), torch.tensor([[0, 0]]), torch.ones(1)))
    with pytest.raises(ValueError, match='no place for Range'):
        write_g2o(tmp_path / 'a', graph)
    with pytest.raises(ValueError, match="no place for 'point'"):
        write_toro(tmp_path / 'a', graph)
    other = FactorGraph()
    other.add_variables('pose', SE2, torch.tensor([SE2.identity]))
    other.add(Prior('pose', torch.tensor([0]), torch.tensor(SE2.identity)))
    with pytest.raises(ValueError, match='no place for Prior'):
        write_toro(tmp_path / 'a', other)


def test_toro_in_the_plane_orders_its_information_otherwise(tmp_path):
    lines = 'VERTEX2 0 0 0 0', 'VERTEX2 1 1 0 0', 'EDGE2 0 1 1 0 0 11 12 22 33 13 23'
    graph = read_toro(written(tmp_path, *lines)).graph
    assert graph.factors[0].information[0].tolist() == [[11, 12, 13], [12, 22, 23], [13, 23, 33]]


def test_toro_in_space_turns_by_roll_pitch_and_yaw(tmp_path):
    roll, pitch, yaw = 0.3, -0.5, 1.2
    graph = read_toro(written(tmp_path, 'VERTEX3 0 0 0 0 0 0 0', f'VERTEX3 1 1 2 3 {roll} {pitch} {yaw}',
                              f'EDGE3 0 1 1 2 3 {roll} {pitch} {yaw} {UPPER6}')).graph

    def about(axis, angle):
        v = torch.zeros(3, dtype=f64)
        v[axis] = angle
        return so3.exp(v)

    q = so3.mul(about(2, yaw), so3.mul(about(1, pitch), about(0, roll)))
    torch.testing.assert_close(graph.values['SE3'][1, 3:], q)
    assert graph.chi2() == pytest.approx(0, abs=1e-20) and graph.factors[0].information[0, 3, 3] == 2


@pytest.mark.parametrize('group', [SE2, SE3], ids=str)
def test_writing_toro_gives_back_the_graph(tmp_path, group):
    generator = torch.Generator().manual_seed(0)
    X = group.retract(torch.tensor(group.identity, dtype=f64).expand(5, -1),
                      torch.randn(5, group.dof, generator=generator, dtype=f64))
    A = torch.randn(4, group.dof, group.dof, generator=generator, dtype=f64)
    graph = FactorGraph()
    graph.add_variables(group.name, group, X)
    pairs = torch.stack([torch.arange(4), torch.arange(1, 5)], 1)
    graph.add(Between(group.name, pairs, group.relative(X[1:], X[:-1]), information=A @ A.mT))
    write_toro(tmp_path / 'graph.toro', graph)
    again = read_toro(tmp_path / 'graph.toro').graph
    assert again.cost() == pytest.approx(graph.cost(), rel=1e-9)
    torch.testing.assert_close(group.difference(X, again.values[group.name]), torch.zeros(5, group.dof, dtype=f64),
                               rtol=0, atol=1e-12)


def test_toro_reports_and_refuses_as_g2o_does(tmp_path):
    edges = 'EDGE2 0 1 1 0 0 1 0 1 1 0 0', 'EDGE 1 2 1 0 0 1 0 1 1 0 0'
    file = read_toro(written(tmp_path, '# comment', 'EQUIV 1 2', *edges))
    assert file.unknown == {'EQUIV': (1, 2)}
    assert file.graph.values['SE2'][:, 0].tolist() == [0, 1, 2]
    for line, fault in (('VERTEX3 0 0 0 0 0 0', 'VERTEX3: wanted number 6 of 6'),
                        ('EDGE2 0 1 1 0 zero 1 0 1 1 0 0', "found 'zero'"),
                        (f'VERTEX2 0 0 0 {math.inf}', "found 'inf'")):
        with pytest.raises(GraphFileError, match=':1: ') as raised:
            read_toro(written(tmp_path, line))
        assert fault in str(raised.value)
