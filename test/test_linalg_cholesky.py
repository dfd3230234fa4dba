"""Block-sparse matrices, their factorization, selected inverse and conjugate gradients, against dense algebra."""
import threading
import time

import pytest
import torch

from pypose_core.linalg import (
    BlockPattern,
    CgStatus,
    NotPositiveDefinite,
    SparseCholesky,
    conjugate_gradients,
)

torch.manual_seed(0)
GRAPHS = ['chain', 'loop', 'star', 'grid', 'random', 'dense', 'apart', 'single', 'empty']


def couplings(kind: str, generator: torch.Generator) -> tuple[int, torch.Tensor]:
    """Block rows, and (P, 2) coupled pairs."""
    if kind == 'single':
        return 1, torch.empty(0, 2, dtype=torch.int64)
    if kind == 'empty':
        return 0, torch.empty(0, 2, dtype=torch.int64)
    n = 60
    chain = torch.stack([torch.arange(n - 1), torch.arange(1, n)], 1)
    if kind == 'chain':
        return n, chain
    if kind == 'loop':
        return n, torch.cat([chain, torch.tensor([[n - 1, 0]])])
    if kind == 'star':
        return n, torch.stack([torch.zeros(n - 1, dtype=torch.int64), torch.arange(1, n)], 1)
    if kind == 'grid':
        cell = torch.arange(64).view(8, 8)
        right, down = (cell[:, :-1], cell[:, 1:]), (cell[:-1], cell[1:])
        return 64, torch.cat([torch.stack([a.reshape(-1), b.reshape(-1)], 1) for a, b in (right, down)])
    if kind == 'dense':
        return 12, torch.combinations(torch.arange(12))
    if kind == 'apart':
        return n, torch.cat([chain[:20], chain[25:40], torch.tensor([[58, 45], [45, 50]])])
    extra = torch.randint(n, (90, 2), generator=generator)
    return n, torch.cat([chain, extra[extra[:, 0] != extra[:, 1]]])


def random_matrix(kind: str, sizes: tuple[int, ...], seed: int = 0):
    """A = J^T J + I, J one row block per coupling: positive definite, on the pattern."""
    generator = torch.Generator().manual_seed(seed)
    n, pairs = couplings(kind, generator)
    size = torch.tensor([sizes[i % len(sizes)] for i in range(n)], dtype=torch.int64)
    matrix = BlockPattern(size, pairs).zeros()
    # Blocks of one shape at a time: the couplings grouped by the sizes of their two ends.
    for high in set(sizes):
        some = (size == high).nonzero()[:, 0]
        matrix.add_blocks(torch.stack([some, some], 1), torch.eye(high, dtype=torch.float64).expand(len(some), -1, -1))
        for low in set(sizes):
            some = pairs[(size[pairs[:, 0]] == high) & (size[pairs[:, 1]] == low)]
            J = [torch.randn(len(some), 4, d, generator=generator, dtype=torch.float64) for d in (high, low)]
            for a, b in ((0, 0), (1, 1), (1, 0)):
                matrix.add_blocks(some[:, [a, b]], J[a].mT @ J[b])
    return matrix, generator


@pytest.mark.parametrize('sizes', [(6,), (3,), (1,), (6, 3, 1, 9)])
@pytest.mark.parametrize('kind', GRAPHS)
def test_solution_equals_dense(kind, sizes):
    matrix, generator = random_matrix(kind, sizes)
    b = torch.randn(3, matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    x = SparseCholesky(matrix.pattern).factorize(matrix).solve(b)
    expected = torch.linalg.solve(matrix.to_dense(), b.mT).mT
    torch.testing.assert_close(x, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('kind', GRAPHS)
def test_selected_inverse_equals_dense_where_there_are_blocks(kind):
    matrix, _ = random_matrix(kind, (6, 2, 3))
    inverse = SparseCholesky(matrix.pattern).factorize(matrix).selected_inverse()
    dense, starts = torch.linalg.inv(matrix.to_dense()), matrix.pattern.starts
    for i, j in zip(matrix.pattern.rows.tolist(), matrix.pattern.columns.tolist()):
        expected = dense[starts[i]:starts[i + 1], starts[j]:starts[j + 1]]
        torch.testing.assert_close(inverse.block(i, j), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('order', [None, torch.arange(60), torch.arange(60).flip(0)])
def test_any_elimination_order_gives_the_same_solution(order):
    matrix, generator = random_matrix('random', (3, 6))
    b = torch.randn(matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    x = SparseCholesky(matrix.pattern, order=order).factorize(matrix).solve(b)
    torch.testing.assert_close(matrix @ x, b, rtol=1e-9, atol=1e-9)


def test_order_is_a_permutation_that_fills_less_than_the_natural_one():
    cell = torch.arange(900).view(30, 30)
    pairs = torch.cat([torch.stack([a.reshape(-1), b.reshape(-1)], 1)
                       for a, b in ((cell[:, :-1], cell[:, 1:]), (cell[:-1], cell[1:]))])
    pattern = BlockPattern(torch.full((900,), 6), pairs)
    ours, natural = SparseCholesky(pattern), SparseCholesky(pattern, order=torch.arange(900))
    assert sorted(ours.order.tolist()) == list(range(900))
    assert ours.statistics.operations < 0.6 * natural.statistics.operations


def test_one_analysis_serves_many_matrices():
    matrix, generator = random_matrix('random', (6,))
    cholesky = SparseCholesky(matrix.pattern)
    b = torch.randn(matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    first = cholesky.factorize(matrix).solve(b)
    twice = matrix.pattern.zeros()
    twice.values.copy_(2 * matrix.values)
    torch.testing.assert_close(cholesky.factorize(twice).solve(b), first / 2)


def test_damping_and_shift_are_added_to_the_diagonal():
    matrix, generator = random_matrix('grid', (3,))
    b = torch.randn(matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    x = SparseCholesky(matrix.pattern).factorize(matrix, damping=0.5, shift=2.0).solve(b)
    A = matrix.to_dense()
    torch.testing.assert_close(x, torch.linalg.solve(A + 0.5 * torch.diag(A.diagonal()) + 2 * torch.eye(len(A)), b))


def test_product_with_a_vector_equals_dense():
    matrix, generator = random_matrix('random', (6, 3, 1))
    x = torch.randn(matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(matrix @ x, matrix.to_dense() @ x)


@pytest.mark.parametrize('block', [0, 17, 59])
def test_block_without_positive_pivot_is_named(block):
    matrix, _ = random_matrix('apart', (3,))
    matrix.block(block, block).zero_()
    matrix.values[matrix.pattern.begin[:-1][(matrix.pattern.columns == block) | (matrix.pattern.rows == block)][:, None]
                  + torch.arange(9)] = 0
    with pytest.raises(NotPositiveDefinite, match=f'block row {block} ') as caught:
        SparseCholesky(matrix.pattern).factorize(matrix)
    assert caught.value.block == block


def test_graph_without_gauge_is_not_positive_definite():
    pattern = BlockPattern(torch.full((50,), 3), couplings('loop', torch.Generator())[1][:49])
    matrix = pattern.zeros()
    pairs = torch.stack([torch.arange(49), torch.arange(1, 50)], 1)
    eye = torch.eye(3, dtype=torch.float64).expand(49, 3, 3)
    for a, b, sign in ((0, 0, 1), (1, 1, 1), (1, 0, -1)):
        matrix.add_blocks(pairs[:, [a, b]], sign * eye)
    assert SparseCholesky(pattern).try_factorize(matrix) >= 0
    matrix.block(0, 0).add_(torch.eye(3, dtype=torch.float64))
    assert SparseCholesky(pattern).try_factorize(matrix) == -1


def test_not_a_number_is_not_positive_definite():
    matrix, _ = random_matrix('chain', (3,))
    matrix.block(3, 3)[2, 1] = float('nan')
    assert SparseCholesky(matrix.pattern).try_factorize(matrix) >= 0


def test_solving_without_a_factor_is_refused():
    matrix, _ = random_matrix('chain', (3,))
    cholesky = SparseCholesky(matrix.pattern)
    with pytest.raises(RuntimeError, match='no factor'):
        cholesky.solve(torch.zeros(180, dtype=torch.float64))
    matrix.values.zero_()
    cholesky.try_factorize(matrix)
    with pytest.raises(RuntimeError, match='no factor'):
        cholesky.selected_inverse()


def test_wrong_arguments_are_refused():
    matrix, _ = random_matrix('chain', (3,))
    with pytest.raises(RuntimeError, match='not among 60 blocks'):
        BlockPattern(torch.full((60,), 3), torch.tensor([[0, 60]]))
    with pytest.raises(RuntimeError, match='has size 0'):
        BlockPattern(torch.tensor([3, 0]), torch.tensor([[0, 1]]))
    with pytest.raises(RuntimeError, match='not a permutation'):
        SparseCholesky(matrix.pattern, order=torch.zeros(60, dtype=torch.int64))
    with pytest.raises(ValueError, match='no block'):
        matrix.add_blocks(torch.tensor([[0, 5]]), torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match='another pattern'):
        SparseCholesky(random_matrix('loop', (3,))[0].pattern).factorize(matrix)


@pytest.mark.parametrize('kind', ['chain', 'grid', 'random', 'apart'])
def test_conjugate_gradients_reach_the_tolerance(kind):
    matrix, generator = random_matrix(kind, (6, 3))
    b = torch.randn(matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    result = conjugate_gradients(matrix, b, tolerance=1e-10)
    assert result.status is CgStatus.CONVERGED
    assert (b - matrix.to_dense() @ result.value).norm() <= 1.01e-10 * b.norm()


def test_conjugate_gradients_say_why_they_stopped():
    matrix, generator = random_matrix('grid', (3,))
    b = torch.randn(matrix.pattern.dimension, generator=generator, dtype=torch.float64)
    assert conjugate_gradients(matrix, b, max_iterations=2).status is CgStatus.ITERATION_LIMIT
    matrix.block(4, 4).neg_()
    stopped = conjugate_gradients(matrix, b)
    assert stopped.status is CgStatus.BLOCK_NOT_POSITIVE_DEFINITE and stopped.failed_block == 4
    indefinite = BlockPattern(torch.tensor([1, 1]), torch.tensor([[0, 1]])).zeros()
    indefinite.add_blocks(torch.tensor([[0, 0], [1, 1], [1, 0]]), torch.tensor([1., 1., 2.]).view(3, 1, 1))
    b = torch.tensor([1., -1.], dtype=torch.float64)
    assert conjugate_gradients(indefinite, b).status is CgStatus.INDEFINITE


def test_factorization_lets_other_threads_run():
    cell = torch.arange(1728).view(12, 12, 12)
    pairs = torch.cat([torch.stack([a.reshape(-1), b.reshape(-1)], 1) for a, b in (
        (cell[:-1], cell[1:]), (cell[:, :-1], cell[:, 1:]), (cell[:, :, :-1], cell[:, :, 1:]))])
    pattern = BlockPattern(torch.full((1728,), 6), pairs)
    matrix = pattern.zeros()
    ids = torch.arange(1728)
    matrix.add_blocks(torch.stack([ids, ids], 1), 60 * torch.eye(6, dtype=torch.float64).expand(1728, 6, 6))
    cholesky = SparseCholesky(pattern)
    done = threading.Event()

    def work():
        cholesky.factorize(matrix)
        done.set()

    worker = threading.Thread(target=work)
    turns = 0
    worker.start()
    while not done.is_set():
        turns += 1
        time.sleep(0)
    worker.join()
    assert turns > 10
