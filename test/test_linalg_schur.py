"""The Schur complement of landmarks: solutions against dense ones, and the automatic choice of what to eliminate."""
import pytest
import torch

from pypose_core.graph import SE2, Between, Euclidean, FactorGraph, Landmark
from pypose_core.linalg import BlockPattern, NotPositiveDefinite, SchurCholesky, SparseCholesky

f64 = torch.float64


def system(seed=0, *, others=7, landmarks=60):
    """A positive definite matrix of blocks of sizes 6 and 3, and of landmarks of size 2 or 3, mixed."""
    generator = torch.Generator().manual_seed(seed)

    def random(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    n = others + landmarks
    order = torch.randperm(n, generator=generator)
    eliminated = torch.zeros(n, dtype=torch.bool)
    eliminated[order[:landmarks]] = True
    kept, marks = order[landmarks:], order[:landmarks]
    sizes = torch.where(eliminated, random(2, 4, n), 3 * random(1, 3, n))
    pairs = [torch.stack([kept[random(0, others, 10)], kept[random(0, others, 10)]], 1)]
    for degree in (0, 1, 3, 4):
        some = marks[degree * landmarks // 5:(degree + 1) * landmarks // 5]
        for mark in some.tolist():
            seen = kept[torch.randperm(others, generator=generator)[:degree] // (1 + degree % 2)].unique()
            pairs.append(torch.stack([torch.full_like(seen, mark), seen], 1))
    pattern = BlockPattern(sizes, torch.cat(pairs))
    A = pattern.zeros()
    A.values[:] = torch.randn(len(A.values), generator=generator, dtype=f64)
    dense = A.to_dense()
    shift = float(-torch.linalg.eigvalsh(dense)[0]) + 1
    starts = pattern.starts
    for i in range(n):
        block = A.block(i, i)
        block += shift * torch.eye(len(block), dtype=f64)
    assert len(starts) == n + 1
    return pattern, A, eliminated


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('damping, shift', [(0, 0), (0.1, 0), (0, 0.3)])
def test_solution_equals_the_dense_one(seed, damping, shift):
    pattern, A, eliminated = system(seed)
    dense = A.to_dense()
    dense = dense + damping * torch.diag(dense.diagonal()) + shift * torch.eye(len(dense), dtype=f64)
    b = torch.randn(3, pattern.dimension, generator=torch.Generator().manual_seed(9), dtype=f64)
    schur = SchurCholesky(pattern, eliminated).factorize(A, damping=damping, shift=shift)
    torch.testing.assert_close(schur.solve(b), torch.linalg.solve(dense, b.mT).mT, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(schur.solve(b[0]), SparseCholesky(pattern).factorize(A, damping=damping, shift=shift)
                               .solve(b[0]), rtol=1e-10, atol=1e-10)
    assert schur.reduced_dimension == int(pattern.sizes[~eliminated].sum())


def test_all_or_nothing_may_be_eliminated():
    pattern, A, eliminated = system(others=1, landmarks=0)
    b = torch.ones(pattern.dimension, dtype=f64)
    expected = torch.linalg.solve(A.to_dense(), b)
    for choice in (torch.zeros(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool)):
        torch.testing.assert_close(SchurCholesky(pattern, choice).factorize(A).solve(b), expected)


@pytest.mark.parametrize('mark', [True, False])
def test_block_without_positive_pivot_is_named(mark):
    pattern, A, eliminated = system()
    bad = int((eliminated == mark).nonzero()[3])
    block = A.block(bad, bad)
    block[1, 1] = -1000
    schur = SchurCholesky(pattern, eliminated)
    with pytest.raises(NotPositiveDefinite) as raised:
        schur.factorize(A)
    assert raised.value.block == bad
    with pytest.raises(RuntimeError, match='no factor'):
        schur.solve(torch.zeros(pattern.dimension, dtype=f64))


def test_coupled_blocks_cannot_be_eliminated_together():
    pattern, _, eliminated = system()
    with pytest.raises(RuntimeError, match='are coupled'):
        SchurCholesky(pattern, torch.ones_like(eliminated))


def landmark_graph(points, *, couple=False):
    generator = torch.Generator().manual_seed(0)
    pose = torch.tensor(SE2.identity, dtype=f64).repeat(5, 1)
    pose[:, 0] = torch.arange(5)
    landmark = torch.randn(points, 2, generator=generator, dtype=f64)
    graph = FactorGraph()
    graph.add_variables('landmark', Euclidean(2), landmark + 0.1)
    graph.add_variables('pose', SE2, pose)
    graph.fix('pose', [0])
    chain = torch.stack([torch.arange(4), torch.arange(1, 5)], 1)
    graph.add(Between('pose', chain, torch.tensor([1., 0, 1, 0])))
    index = torch.cartesian_prod(torch.arange(5), torch.arange(points))
    graph.add(Landmark(('pose', 'landmark'), index, landmark[index[:, 1]] - pose[index[:, 0], :2]))
    if couple:
        graph.add(Between('landmark', torch.tensor([[0, 1]]), landmark[1] - landmark[0]))
    return graph


def test_landmarks_are_eliminated_where_that_is_possible_and_pays():
    assert landmark_graph(40).problem().eliminated == 'landmark'
    assert landmark_graph(40, couple=True).problem().eliminated is None
    assert landmark_graph(6).problem().eliminated is None


def test_elimination_changes_no_solution_and_no_covariance():
    alone, coupled = landmark_graph(40), landmark_graph(40, couple=True)
    for graph in (alone, coupled):
        assert graph.optimize().status.ok and graph.cost() < 1e-12
    problem = alone.problem()
    assert isinstance(problem.solver, SchurCholesky)
    H = problem.linearize(alone.values)[2].to_dense()
    column = int(problem.column['landmark'][7])
    torch.testing.assert_close(alone.marginals().covariance('landmark')[7],
                               torch.linalg.inv(H)[column:column + 2, column:column + 2])
