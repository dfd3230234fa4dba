"""Damaged g2o, TORO, BAL and TUM files: read whole or refused in one line that names the file; never a crash.

Seeded mutations of small good files.
"""
import random

import pytest
import torch

from pypose_core.graph import GraphFileError, read_bal, read_g2o, read_toro, reference_text
from pypose_core.graph.operations import operations
from pypose_core.metric.tum import TrajectoryFileError, read_tum

TOKENS = [b'nan', b'-inf', b'1e999', b'-1', b'0', b'99999999999999999999', b'2147483648', b'1e-320', b'', b'\x00',
          b'VERTEX_SE2', b'EDGE_SE3:QUAT', b'FIX', b'#', b'+', b'1_000', b'0x10', b'1' * 400, b'PARAMS_SE3OFFSET',
          b'\r', b'\xff\xfe', b'VERTEX2', b'EDGE3', b'4000000000 4000000000 4000000000']
G2O = b"""VERTEX_SE2 0 0 0 0
VERTEX_SE2 1 1 0 0.1
VERTEX_XY 9 2 2
EDGE_SE2 0 1 1 0 0.1 100 0 0 100 0 400
EDGE_SE2_XY 0 9 2 2 10 0 10
VERTEX_SE3:QUAT 5 0 0 0 0 0 0 1
VERTEX_SE3:QUAT 6 1 0 0 0 0 0 1
FIX 5
EDGE_SE3:QUAT 5 6 1 0 0 0 0 0 1 9 0 0 0 0 0 9 0 0 0 0 9 0 0 0 4 0 0 4 0 4
"""
TORO = b"""VERTEX2 0 0 0 0
VERTEX2 1 1 0 0.1
EDGE2 0 1 1 0 0.1 100 0 100 400 0 0
VERTEX3 5 0 0 0 0 0 0
VERTEX3 6 1 0 0 0 0 0
EDGE3 5 6 1 0 0 0 0 0 9 0 0 0 0 0 9 0 0 0 0 9 0 0 0 4 0 0 4 0 4
"""
BAL = b'2 3 4\n0 0 1.5 2.5\n0 1 -3 4\n1 1 1 1\n1 2 0 -1\n' + b''.join(
    b'%g\n' % z for z in [0.1, 0.2, 0.3, 1, 2, -9, 500, 0, 0] * 2 + [1, 2, 3] * 3)
TUM = b'# stamp x y z q\n' + b''.join(b'%d.25 1 2 3 0 0 0 1\n' % (1_400_000_000 + k) for k in range(6))


def graph_is_whole(read):
    def check(path):
        found = read(path)
        graph = getattr(found, 'graph', found)
        for name, values in graph.values.items():
            assert len(graph.held[name]) == len(values) and bool(values.isfinite().all())
        for factors in graph.factors:
            assert bool(factors.information.isfinite().all())
            for name, index in zip(factors.variables, factors.index.T):
                assert int(index.min()) >= 0 and int(index.max()) < len(graph.values[name])
        assert graph.cost() >= 0 or graph.factors
    return check


def trajectory_is_whole(path):
    found = read_tum(path)
    assert len(found.stamps_ns) == len(found.poses) >= 1


FORMATS = {'g2o': (G2O, graph_is_whole(read_g2o), GraphFileError),
           'toro': (TORO, graph_is_whole(read_toro), GraphFileError),
           'bal': (BAL, graph_is_whole(read_bal), GraphFileError),
           'tum': (TUM, trajectory_is_whole, TrajectoryFileError)}


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, a cut, lines moved or doubled, words replaced."""
    for _ in range(chance.randint(1, 3)):
        lines, kind = whole.split(b'\n'), chance.randrange(6)
        k = chance.randrange(len(lines))
        if kind == 0 and whole:
            at = chance.randrange(len(whole))
            whole = whole[:at] + bytes([chance.randrange(256)]) + whole[at + chance.randint(0, 2):]
        elif kind == 1:
            whole = whole[:chance.randint(0, len(whole))]
        elif kind == 2:
            lines.insert(chance.randrange(len(lines)), lines[k])
            whole = b'\n'.join(lines)
        elif kind == 3:
            del lines[k]
            whole = b'\n'.join(lines)
        else:
            words = lines[k].split(b' ')
            words[chance.randrange(len(words))] = chance.choice(TOKENS)
            lines[k] = b' '.join(words)
            whole = b'\n'.join(lines)
    return whole


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize('seed, rounds', [(0, 300), pytest.param(1, 4000, marks=pytest.mark.slow)])
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(kind, seed, rounds, tmp_path):
    whole, check, fault = FORMATS[kind]
    path, chance, read = tmp_path / f'damaged.{kind}', random.Random(seed), 0
    path.write_bytes(whole)
    check(path)
    for _ in range(rounds):
        content = mutated(whole, chance)
        path.write_bytes(content)
        try:
            check(path)
            read += 1
        except fault as error:
            assert path.name in str(error) and '\n' not in str(error), content
        except Exception as error:
            raise AssertionError(f'{type(error).__name__} on {content!r}') from error
    assert 0 < read < rounds        # both happen


def test_a_damaged_file_leaves_no_trace_in_what_is_read_next(tmp_path):
    """Readers hold no state: after a refusal, the good file gives what it gave before."""
    good, bad = tmp_path / 'good.g2o', tmp_path / 'bad.g2o'
    good.write_bytes(G2O)
    bad.write_bytes(G2O.replace(b'EDGE_SE3:QUAT 5 6 1', b'EDGE_SE3:QUAT 5 6 x'))
    before = read_g2o(good).graph.values
    with pytest.raises(GraphFileError, match='bad.g2o:9'):
        read_g2o(bad)
    after = read_g2o(good).graph.values
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize('parse', [operations.graph_parse_g2o, reference_text.graph_parse_g2o])
@pytest.mark.parametrize('number', ['1' * 400, '-' + '1' * 400, '1' * 5000, str(2 ** 63), 'nan', '1_0'])
def test_an_id_that_is_none_is_refused_on_its_line(parse, number):
    content = torch.tensor(list(f'VERTEX_SE2 0 0 0 0\nVERTEX_SE2 {number} 0 0 0\n'.encode()), dtype=torch.uint8)
    *_, line, fault = parse(content, False)
    assert line == 2 and 'an integer id' in fault
