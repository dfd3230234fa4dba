"""Pairwise consistency of loop closures, and the largest clique that it needs."""
from itertools import combinations

import pytest
import torch

from pypose_core.graph import SE2, SE3, Between, FactorGraph, consistent_closures
from pypose_core.graph.clique import largest_clique

f64 = torch.float64


def randn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=f64)


@pytest.mark.parametrize('density', [0.2, 0.5, 0.8])
@pytest.mark.parametrize('seed', range(4))
def test_largest_clique_equals_exhaustive_search(density, seed):
    n, generator = 11, torch.Generator().manual_seed(seed)
    A = torch.rand(n, n, generator=generator) < density
    A = A.triu(1) | A.triu(1).mT
    found, proven = largest_clique(A)
    assert proven and all(A[i, j] for i, j in combinations(found, 2))
    larger = (chosen for chosen in combinations(range(n), len(found) + 1)
              if all(A[i, j] for i, j in combinations(chosen, 2)))
    assert next(larger, None) is None


def test_clique_search_of_no_or_of_limited_length_is_honest():
    assert largest_clique(torch.zeros(0, 0, dtype=torch.bool)) == ([], True)
    assert largest_clique(torch.zeros(3, 3, dtype=torch.bool))[1]
    generator = torch.Generator().manual_seed(0)
    A = torch.rand(60, 60, generator=generator) < 0.7
    A = A.triu(1) | A.triu(1).mT
    found, proven = largest_clique(A, max_nodes=20)
    assert not proven and len(found) >= 5 and all(A[i, j] for i, j in combinations(found, 2))


def circling(group, *, outliers, seed=0, sigma=0.01):
    """Three rounds of a circle of 20 poses; a closure joins a pose with the one a round later, the last are wrong."""
    generator = torch.Generator().manual_seed(seed)
    step = torch.zeros(group.dof, dtype=f64)
    step[0], step[-1] = 1.0, 2 * torch.pi / 20
    truth = [torch.tensor(group.identity, dtype=f64)]
    for _ in range(59):
        truth.append(group.retract(truth[-1], step))
    truth = torch.stack(truth)

    def measured(pairs):
        exact = group.relative(truth[pairs[:, 0]], truth[pairs[:, 1]])
        return group.retract(exact, sigma * randn(generator, len(pairs), group.dof))

    chain = torch.stack([torch.arange(59), torch.arange(1, 60)], 1)
    pairs = torch.stack([torch.arange(0, 40, 2), torch.arange(20, 60, 2)], 1)
    ends = torch.randint(0, 30, (outliers,), generator=generator)
    wrong = torch.stack([ends, ends + 5 + torch.randint(0, 24, (outliers,), generator=generator)], 1)
    information = torch.eye(group.dof) / sigma ** 2
    graph = FactorGraph()
    graph.add_variables('pose', group, truth)
    odometry = graph.add(Between('pose', chain, measured(chain), information=information))
    index = torch.cat([pairs, wrong])
    swap = torch.arange(len(index)) % 3 == 0       # a closure may be given either way round
    index[swap] = index[swap].flip(1)
    Z = measured(index)
    error = randn(generator, outliers, group.dof)
    Z[20:] = group.retract(Z[20:], error + error.sign())      # by at least 1 m and 1 rad, each one otherwise
    return graph, odometry, graph.add(Between('pose', index, Z, information=information))


@pytest.mark.parametrize('outliers', [0, 10, 40])
@pytest.mark.parametrize('group', [SE2, SE3], ids=str)
def test_right_closures_are_kept_and_wrong_ones_are_not(group, outliers):
    graph, odometry, closures = circling(group, outliers=outliers)
    graph.set_values('pose', torch.tensor(group.identity, dtype=f64).repeat(60, 1))     # values do not matter
    found = consistent_closures(graph, odometry, closures, probability=1 - 1e-5)
    right = torch.arange(len(closures)) < 20
    kept = found.kept
    assert int((kept & right).sum()) >= 0.9 * 20 and int((kept & ~right).sum()) == 0
    pairs = found.consistent[kept][:, kept] | torch.eye(int(kept.sum()), dtype=torch.bool)
    assert bool(pairs.all())


def test_right_pairs_pass_with_about_the_given_probability():
    """The distance is chi-square distributed: loops of independent noise, many times."""
    passed = []
    for seed in range(30):
        graph, odometry, closures = circling(SE2, outliers=0, seed=seed)
        found = consistent_closures(graph, odometry, closures, probability=0.9, max_nodes=1)
        passed.append(found.consistent[[0, 1, 2, 3], [3, 7, 5, 9]])     # near: no odometry is passed twice
    rate = float(torch.stack(passed).to(f64).mean())
    assert 0.83 < rate < 0.96


def test_what_is_no_chain_is_refused():
    graph, odometry, closures = circling(SE2, outliers=2)
    with pytest.raises(ValueError, match='once for each k'):
        consistent_closures(graph, closures, odometry)
    singular = Between('pose', closures.index, closures.measured, information=torch.diag(torch.tensor([1., 1, 0])))
    graph.add(singular)
    with pytest.raises(ValueError, match='is singular'):
        consistent_closures(graph, odometry, singular)
