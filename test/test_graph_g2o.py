"""Reading and writing of g2o files: what is read, what is refused, and where it says the fault lies."""
import pytest
import torch

from pypose_core.graph import G2oError, read_g2o, write_g2o

V0, V1 = 'VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1', 'VERTEX_SE3:QUAT 1 1 2 3 0 0 0.6 0.8'
UPPER6 = '1 0 0 0 0 0 1 0 0 0 0 1 0 0 0 2 0 0 2 0 2'
E01 = f'EDGE_SE3:QUAT 0 1 1 2 3 0 0 0.6 0.8 {UPPER6}'


def written(tmp_path, *lines):
    path = tmp_path / 'graph.g2o'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_vertices_edges_and_fixed_are_read(tmp_path):
    file = read_g2o(written(tmp_path, '# a comment', V1, '', V0 + ' ', 'FIX 1', E01 + '\r'))
    graph = file.graph
    assert file.ids['SE3'].tolist() == [0, 1] and file.unknown == {}
    assert graph.values['SE3'][1].tolist() == [1, 2, 3, 0, 0, 0.6, 0.8]
    assert graph.held['SE3'].tolist() == [False, True]
    factor = graph.factors[0]
    assert factor.index.tolist() == [[0, 1]]
    torch.testing.assert_close(factor.information[0].diagonal(), torch.tensor([1., 1, 1, 2, 2, 2], dtype=torch.float64))
    assert graph.chi2() == pytest.approx(0, abs=1e-20)


def test_information_is_completed_from_its_upper_triangle(tmp_path):
    edge = 'EDGE_SE2 3 9 1 0 0.5 4 1 .5 3 .2 2'
    file = read_g2o(written(tmp_path, 'VERTEX_SE2 3 0 0 0', 'VERTEX_SE2 9 1 0 0.5', edge))
    expected = torch.tensor([[4, 1, .5], [1, 3, .2], [.5, .2, 2]], dtype=torch.float64)
    assert torch.equal(file.graph.factors[0].information[0], expected)
    assert file.ids['SE2'].tolist() == [3, 9]


def test_first_vertex_is_held_where_the_file_holds_none(tmp_path):
    path = written(tmp_path, V0, V1, E01)
    assert read_g2o(path).graph.held['SE3'].tolist() == [True, False]
    assert not read_g2o(path, fix_first=False).graph.held['SE3'].any()


def test_file_without_vertices_is_composed_from_its_edges(tmp_path):
    edges = 'EDGE_SE2 0 1 1 0 1.5707963267948966 1 0 0 1 0 1', 'EDGE_SE2 1 2 1 0 0 1 0 0 1 0 1'
    positions = read_g2o(written(tmp_path, *edges)).graph.values['SE2'][:, :2]
    torch.testing.assert_close(positions, torch.tensor([[0., 0], [1, 0], [1, 1]], dtype=torch.float64))


def test_unknown_tags_are_reported_with_their_first_line(tmp_path):
    file = read_g2o(written(tmp_path, V0, 'VERTEX_CAM 7 1 2', V1, 'VERTEX_CAM 8 1 2', 'PARAMS_CAMERA 0', E01))
    assert file.unknown == {'VERTEX_CAM': (2, 2), 'PARAMS_CAMERA': (1, 5)}


@pytest.mark.parametrize('line, fault', [
    ('VERTEX_SE3:QUAT 1 1 2 3 0 0 0.6', 'wanted number 7 of 7, found the end of the line'),
    ('VERTEX_SE3:QUAT 1 1 2 3 0 0 0.6 0.8 5', "more fields than it should: '5'"),
    ('VERTEX_SE3:QUAT one 1 2 3 0 0 0.6 0.8', "wanted an integer id, found 'one'"),
    ('VERTEX_SE3:QUAT 1.5 1 2 3 0 0 0.6 0.8', "wanted an integer id, found '1.5'"),
    ('VERTEX_SE3:QUAT 1 1 2 x3 0 0 0.6 0.8', "found 'x3'"),
    ('VERTEX_SE3:QUAT 1 1 2 nan 0 0 0.6 0.8', "found 'nan'"),
    ('VERTEX_SE3:QUAT 1 1 2 inf 0 0 0.6 0.8', "found 'inf'"),
    ('VERTEX_SE3:QUAT 1 1 2 3 0 0 0 0', 'quaternion has norm 0.0'),
    ('VERTEX_SE3:QUAT 0 1 2 3 0 0 0.6 0.8', 'vertex 0 is given a second time'),
    (E01.replace('0 1 1 2 3', '0 5 1 2 3'), 'names vertex 5, which is not there'),
    (E01.replace('0 1 1 2 3', '0 0 1 2 3'), 'connects vertex 0 with itself'),
    (E01.replace(' 2 0 2', ' 2 0 -2'), 'not positive semidefinite'),
    (E01[:-2], 'found the end of the line'),
    ('FIX 12', 'FIX names vertex 12'),
    ('FIX', 'wanted an integer id'),
])
def test_line_at_fault_is_named(tmp_path, line, fault):
    lines = [V0, V1, line] if line.startswith(('EDGE', 'FIX')) or ' 0 1 2 3' in line else [V0, '# comment', line]
    with pytest.raises(G2oError, match=fault) as caught:
        read_g2o(written(tmp_path, *lines))
    assert str(caught.value).startswith(f'{tmp_path}/graph.g2o:3: ')


def test_unreadable_and_empty_files_are_refused(tmp_path):
    with pytest.raises(G2oError, match='No such file'):
        read_g2o(tmp_path / 'absent.g2o')
    with pytest.raises(G2oError, match='is empty'):
        (tmp_path / 'empty.g2o').touch()
        read_g2o(tmp_path / 'empty.g2o')
    with pytest.raises(G2oError, match='no vertices and no edges in it, only VERTEX_CAM'):
        read_g2o(written(tmp_path, 'VERTEX_CAM 7 1 2'))


@pytest.mark.parametrize('name', ['pgo3d/smallGrid3D', 'pgo2d/intel'])
def test_writing_gives_back_what_was_read(data, tmp_path, name):
    first = read_g2o(data / f'{name}.g2o')
    write_g2o(tmp_path / 'again.g2o', first.graph, ids=first.ids)
    again = read_g2o(tmp_path / 'again.g2o')
    for group, values in first.graph.values.items():
        torch.testing.assert_close(again.graph.values[group], values, rtol=0, atol=1e-15)
        assert torch.equal(again.graph.held[group], first.graph.held[group])
    a, b = first.graph.factors[0], again.graph.factors[0]
    assert torch.equal(a.index, b.index) and torch.equal(a.information, b.information)
    torch.testing.assert_close(a.measured, b.measured, rtol=0, atol=1e-15)
    assert again.graph.chi2() == pytest.approx(first.graph.chi2(), rel=1e-12)
