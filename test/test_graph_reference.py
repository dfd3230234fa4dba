"""Without the native kernels graphs and sparse matrices work the same: each operation beside its native twin, and a
whole session in a process that has them switched off."""
import json
import subprocess
import sys

import pytest
import torch

from pypose_core.graph import SE2, SE3, Euclidean, reference
from pypose_core.graph.incremental_reference import ReferenceGraph
from pypose_core.linalg import reference as blocks
from pypose_core.native import available, status

pytestmark = pytest.mark.skipif(not available, reason=status)
native = torch.ops.pypose
G2O = """# a comment
VERTEX_SE3:QUAT 7 1 2 3 0 0 0 1\r
VERTEX_SE3:QUAT 4611686018427387904 +1.5 2 3 0 0 0.6 0.8
EDGE_SE3:QUAT 7 4611686018427387904 .5 0 0 0 0 .6 .8 1 0 0 0 0 0 2 0 0 0 0 3 0 0 0 4 0 0 5 0 6
VERTEX_SE2 1 0.5 1 -3
VERTEX_XY 2 1e-3 7
EDGE_SE2_XY 1 2 1 2 3 0 3
PARAMS_SE3OFFSET 0 1 0 0 0 0 0 1
VERTEX_TRACKXYZ 9 1 1 1
EDGE_SE3_TRACKXYZ 7 9 0 1 2 3 1 0 0 1 0 1
FIX 7 1
STRANGE 1 2
"""
TORO = 'VERTEX2 0 0 0 1\nEDGE2 0 1 1 2 3 11 12 22 33 13 23\nVERTEX3 5 1 2 3 .1 .2 .3\nEDGE3 5 6 1 2 3 .1 .2 .3' + \
    ' 1 0 0 0 0 0 2 0 0 0 0 3 0 0 0 4 0 0 5 0 6\n'
FAULTS = ('VERTEX_SE2 1 0 0', 'VERTEX_SE2 1 0 0 nan', 'VERTEX_SE2 1.5 0 0 0', 'VERTEX_SE2 1 0 0 0 4', 'FIX', 'FIX 1 x',
          'VERTEX_SE3:QUAT 1 0 0 0 0 0 0 2', 'VERTEX_SE2 9223372036854775808 0 0 0', 'VERTEX_SE2 1_0 0 0 0')


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def loops(count, more, seed=0):
    """A chain with loop closures."""
    far = torch.randint(0, count, (more, 2), generator=generator(seed))
    chain = torch.stack([torch.arange(count - 1), torch.arange(1, count)], 1)
    return torch.cat([chain, far[(far[:, 0] - far[:, 1]).abs() > 1]])


def matrix(count=40):
    """Couplings, block sizes and values of a positive definite matrix, for both."""
    couplings, sizes = loops(count, 20), torch.randint(1, 7, (count,), generator=generator(1))
    pair = blocks.block_pattern(sizes, couplings), native.block_pattern(sizes, couplings)
    values = torch.randn(int(pair[0].begin[-1]), generator=generator(2), dtype=torch.float64)
    row, column = blocks.scalar_places(pair[0])
    values[row == column] = 60.0
    return pair, values


def same(ours, expected, tolerance=1e-12):
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def test_patterns_place_blocks_where_the_native_ones_do():
    (ours, theirs), _ = matrix()
    for one, other in zip(blocks.block_pattern_layout(ours), native.block_pattern_layout(theirs)):
        same(one, other)
    pairs = torch.randint(0, 40, (200, 2), generator=generator(3)).sort(descending=True).values
    same(blocks.block_offsets(ours, pairs), native.block_offsets(theirs, pairs))
    rows = torch.cat([loops(40, 20), torch.tensor([[3, -1]])])
    same(blocks.block_slots(ours, rows), native.block_slots(theirs, rows))
    with pytest.raises(RuntimeError, match=r'no block \(39, 0\)'):
        blocks.block_slots(ours, torch.tensor([[0, 39]]))


def test_products_and_conjugate_gradients_agree():
    (ours, theirs), values = matrix()
    b = torch.randn(ours.dimension, generator=generator(4), dtype=torch.float64)
    same(blocks.block_multiply(ours, values, b), native.block_multiply(theirs, values, b))
    one = blocks.block_conjugate_gradients(ours, values, b, torch.zeros_like(b), 1e-10, 100)
    other = native.block_conjugate_gradients(theirs, values, b, torch.zeros_like(b), 1e-10, 100)
    same(one[0], other[0], 1e-9)
    assert one[1] == other[1] and one[3:] == other[3:]


@pytest.mark.parametrize('damping, shift', [(0.0, 0.0), (0.3, 2.0)])
def test_factors_solve_and_invert_as_the_native_ones(damping, shift):
    (ours, theirs), values = matrix()
    factor = blocks.cholesky_create(blocks.cholesky_analyse(ours, None))
    other = native.cholesky_create(native.cholesky_analyse(theirs, None))
    assert blocks.cholesky_factorize(factor, values, damping, shift) == -1
    assert native.cholesky_factorize(other, values, damping, shift) == -1
    B = torch.randn(2, 3, ours.dimension, generator=generator(5), dtype=torch.float64)
    same(blocks.cholesky_solve_rows(factor, B), native.cholesky_solve_rows(other, B), 1e-10)
    same(blocks.cholesky_selected_inverse(factor), native.cholesky_selected_inverse(other), 1e-10)


def test_singular_and_indefinite_matrices_have_no_factor():
    sizes, couplings = torch.full((4,), 2), torch.tensor([[0, 1], [1, 2], [2, 3]])
    pattern = blocks.block_pattern(sizes, couplings)
    row, column = blocks.scalar_places(pattern)
    chain = torch.where(row == column, 2.0, torch.where((row - column) == 2, -1.0, 0.0)).double()
    factor = blocks.cholesky_create(blocks.cholesky_analyse(pattern, None))
    assert blocks.cholesky_factorize(factor, chain, 0.0, 0.0) == -1
    free = chain.clone()        # without its ends held it floats
    free[(row == column) & ((row < 2) | (row >= 6))] = 1.0
    assert blocks.cholesky_factorize(factor, free, 0.0, 0.0) >= 0
    with pytest.raises(RuntimeError, match='no factor'):
        blocks.cholesky_solve_rows(factor, torch.zeros(8, dtype=torch.float64))
    for value in (-1.0, 0.0, float('nan')):
        bad = chain.clone()
        bad[(row == column) & (row >= 4) & (row < 6)] = value
        assert blocks.cholesky_factorize(factor, bad, 0.0, 0.0) == (2 if value <= 0 else 0) or value != value


def poses(group, count, seed=0):
    d = torch.randn(count, group.dof, generator=generator(seed), dtype=torch.float64)
    return group.retract(torch.tensor(group.identity, dtype=torch.float64).expand(count, -1), d)


@pytest.mark.parametrize('group', [SE2, SE3], ids=str)
def test_first_guesses_agree(group):
    truth, index = poses(group, 30), loops(30, 15)
    noise = 0.02 * torch.randn(len(index), group.dof, generator=generator(6), dtype=torch.float64)
    Z = group.retract(group.relative(truth[index[:, 0]], truth[index[:, 1]]), noise)
    known = torch.zeros(31, dtype=torch.bool)
    known[[4, 11]] = True
    X = torch.cat([truth, truth[:1]])          # the last one has no measurement
    (ours, reached), (expected, same_reached) = (f(X, known, index, Z) for f in (reference.graph_chain,
                                                                                  native.graph_chain))
    assert torch.equal(reached, same_reached) and not bool(reached[30])
    same(group.difference(expected, ours), torch.zeros(31, group.dof, dtype=torch.float64), 1e-9)
    information = torch.eye(group.dof, dtype=torch.float64).repeat(len(index), 1, 1) * 3
    ours, expected = (f(truth, known[:30], index, Z, information) for f in (reference.graph_chordal,
                                                                            native.graph_chordal))
    same(group.difference(expected, ours), torch.zeros(30, group.dof, dtype=torch.float64), 1e-9)


def test_small_questions_have_the_same_answers():
    edges = torch.tensor([[5, 3], [3, 9], [1, 2]])
    same(reference.graph_components(11, edges), native.graph_components(11, edges))
    good = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
    for change in (lambda m: None, lambda m: m[2].mul_(-1), lambda m: m[1, 0].add_(1), lambda m: m[3].fill_(torch.nan),
                   lambda m: m[0].zero_(), lambda m: m[3, 0, 0].zero_()):
        some = good.clone()
        change(some)
        assert reference.graph_first_indefinite(some) == native.graph_first_indefinite(some)
        assert reference.graph_first_not_finite(some) == native.graph_first_not_finite(some)
    for rows in ([[0, 1], [2, 2]], [[0, 1]]):
        index = torch.tensor(rows)
        assert reference.graph_first_loop(index, 0, 1) == native.graph_first_loop(index, 0, 1)


@pytest.mark.parametrize('kernel', range(6))
def test_assembly_agrees(kernel):
    dofs, M = [3, 2, 3], 12
    index = torch.stack([torch.randperm(9, generator=generator(k))[:3] for k in range(M)])
    index = torch.stack([index[:, 0] // 3, 3 + index[:, 1] // 3, 6 + index[:, 2] // 3], 1)
    sizes = torch.tensor([3] * 3 + [2] * 3 + [3] * 3)
    pairs = torch.cat([index[:, [a, b]] for a in range(3) for b in range(a)])
    pattern = blocks.block_pattern(sizes, pairs)
    index[3, 1] = -1
    columns = torch.where(index < 0, -1, pattern.starts[index])
    slots = blocks.block_slots(pattern, index)
    r = 2 * torch.randn(M, 4, generator=generator(8), dtype=torch.float64)
    J = torch.randn(M, 4, 8, generator=generator(9), dtype=torch.float64)
    weight = torch.rand(M, generator=generator(10), dtype=torch.float64)
    out = []
    for f in (reference.graph_assemble, native.graph_assemble):
        H, g = torch.zeros(int(pattern.begin[-1])).double(), torch.zeros(pattern.dimension).double()
        out.append((*f(J, r, dofs, weight, kernel, 1.3, columns, slots, H, g), H, g))
    for one, other in zip(*out):
        same(one, other)


@pytest.mark.parametrize('text, toro', [(G2O, False), (TORO, True)])
def test_files_are_read_alike(text, toro):
    content = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    ours, theirs = reference.graph_parse_g2o(content, toro), native.graph_parse_g2o(content, toro)
    assert theirs[6] == 0, theirs[7]
    for one, other in zip(ours, theirs):
        assert type(one) is type(other)
        if isinstance(one, torch.Tensor) or isinstance(one, list) and one and isinstance(one[0], torch.Tensor):
            same(one, other)
        else:
            assert one == other


@pytest.mark.parametrize('line', FAULTS)
def test_faults_of_files_are_told_alike(line):
    content = torch.frombuffer(bytearray(f'VERTEX_SE2 0 0 0 0\n{line}\n'.encode()), dtype=torch.uint8)
    ours, theirs = (f(content, False) for f in (reference.graph_parse_g2o, native.graph_parse_g2o))
    assert ours[6:] == theirs[6:] and theirs[6] == 2


@pytest.mark.parametrize('group, manifold', [(SE2, 0), (SE3, 1), (Euclidean(3), 3)], ids=str)
def test_growing_graphs_agree(group, manifold):
    """Step by step, with a removal and a failure on the way; without thresholds both are Gauss-Newton."""
    both = ReferenceGraph(), torch.classes.pypose.IncrementalGraph()
    span = group.rotation or slice(0, 0)
    truth, eye = poses(group, 12), torch.eye(group.dof, dtype=torch.float64)
    none = torch.empty(0, dtype=torch.float64)
    guess = group.retract(truth, 0.05 * torch.randn(12, group.dof, generator=generator(7), dtype=torch.float64))
    for graph in both:
        assert graph.add_set(manifold, group.storage, group.dof, span.start, span.stop) == 0
    for k in range(12):
        index = torch.tensor([[j, k] for j in range(max(0, k - 2), k)], dtype=torch.int64).reshape(-1, 2)
        Z = group.retract(group.relative(truth[index[:, 0]], truth[index[:, 1]]),
                          0.03 * torch.randn(len(index), group.dof, generator=generator(k), dtype=torch.float64))
        costs = []
        for graph in both:
            assert graph.add_variables(0, guess[k:k + 1], [0] if k == 0 else []) == -1
            graph.add_factors(1, [0, 0], index, Z, eye.repeat(len(index), 1, 1), none, 1, 0.1, False)
            if k == 8:
                graph.remove(torch.tensor([2]))
            _, numbers, cost = graph.update(0.0, 0.0)
            assert numbers[0] == 0
            costs.append(cost)
        same(*costs, 1e-8)
        same(both[0].values(0, None, True), both[1].values(0, None, True), 1e-8)
    same(both[0].covariance([0, 0], [3, 7]), both[1].covariance([0, 0], [3, 7]), 1e-8)
    for one, other in zip(*(sorted(zip(*(x.tolist() for x in graph.factors(1, 0)))) for graph in both)):
        assert one == pytest.approx(other) if not isinstance(one[0], list) else one[0] == other[0]
    for graph in both:          # a variable that nothing holds: refused, and nothing is left of it
        graph.add_variables(0, guess[:1], [])
        assert graph.update(0.0, 0.0)[1][:3] == [1, 0, 12]
        assert len(graph.values(0, None, True)) == 12


SESSION = """
import json
import sys
import torch
from pypose_core import native
from pypose_core.graph import *
from pypose_core.graph import chordal_initialization


def session(path):
    graph, name = read_g2o(path).graph, 'SE3'
    chordal_initialization(graph, name)
    result = graph.optimize()
    covariance = graph.marginals().covariance(name)
    grown = IncrementalGraph.from_graph(graph)
    loop = Between(name, [[0, 20]], graph.values[name][20], information=torch.eye(6, dtype=torch.float64))
    done = grown.update([loop])
    free = FactorGraph()
    free.add_variables('x', SE2, torch.tensor([SE2.identity] * 2))
    free.add(Between('x', [[0, 1]], torch.tensor(SE2.identity)))
    weight = torch.ones(len(graph.factors[0]), dtype=torch.float64, requires_grad=True)
    solved = SolverLayer(graph, [(graph.factors[0], 'weight')])(weight)
    solved[name].square().sum().backward()
    return [native.available, str(result.status), result.stats.chi2, float(covariance.sum()), done.status.ok,
            grown.chi2(), str(free.optimize()), float(weight.grad.abs().sum())]


"""


def test_a_session_without_native_kernels_ends_where_one_with_them_does(tmp_path):
    truth, index = poses(SE3, 40), loops(40, 20)
    noise = 0.05 * torch.randn(len(index), 6, generator=generator(3), dtype=torch.float64)
    Z = SE3.retract(SE3.relative(truth[index[:, 0]], truth[index[:, 1]]), noise)
    upper = ' '.join('4' if i == j else '0' for i in range(6) for j in range(i, 6))
    path = tmp_path / 'graph.g2o'
    vertices = [f'VERTEX_SE3:QUAT {k} ' + ' '.join(map(repr, row)) for k, row in enumerate(truth.tolist())]
    edges = [f'EDGE_SE3:QUAT {i} {j} ' + ' '.join(map(repr, row)) + f' {upper}'
             for (i, j), row in zip(index.tolist(), Z.tolist())]
    path.write_text('\n'.join(vertices + edges) + '\n')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', SESSION + 'print(json.dumps(session(sys.argv[1])))',
                           str(path)], env={'PYPOSE_NATIVE': '0'}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = {}
    exec(SESSION, here)
    (switched_off, *ours), (active, *expected) = json.loads(done.stdout), here['session'](path)
    assert active and not switched_off
    for one, other in zip(ours, expected):
        assert one == (pytest.approx(other, rel=1e-4) if isinstance(other, float) else other)
