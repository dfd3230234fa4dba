"""Interpolation, means and Gaussians on groups."""
import pytest
import torch
from test_lie_groups import close, random

import pypose_core as pp
from pypose_core.lie.reference import GROUPS


@pytest.fixture(params=list(GROUPS))
def name(request):
    return request.param


def test_interpolation_follows_the_geodesic(name):
    X, Y = random(name, 4), random(name, 4, seed=1)
    close(pp.interpolate(X, Y, 0.0), X, 1e-13)
    close(pp.interpolate(X, Y, 1.0).matrix(), Y.matrix(), 1e-12)
    half = pp.interpolate(X, Y, 0.5)
    close(X.between(half).matrix(), half.between(Y).matrix(), 1e-12)
    t = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    close(pp.interpolate(X, Y, t)[2], pp.interpolate(X[2], Y[2], 0.3), 1e-12)


def test_mean_is_the_centre_and_moves_with_the_elements(name):
    centre, spread = random(name), random(name.lower(), 5) * 0.3
    spread = spread - spread.tensor().mean(0)
    X = centre.Retr(spread)
    M = pp.mean(X)
    close((X @ M.Inv()).Log().tensor().mean(0), torch.zeros(GROUPS[name].dof, dtype=torch.float64), 1e-9)
    shift = random(name, seed=2)
    close(pp.mean(shift @ X).matrix(), (shift @ M).matrix(), 1e-8)
    close(pp.mean(X[None].expand(2, -1, -1), 1)[1].matrix(), M.matrix(), 1e-12)
    heavy = torch.tensor([1.0, 1e-12, 1e-12, 1e-12, 1e-12], dtype=torch.float64)
    close(pp.mean(X, weights=heavy).matrix(), X[0].matrix(), 1e-9)


def small_gaussian(name, seed):
    dof = GROUPS[name].dof
    torch.manual_seed(seed)
    A = torch.randn(dof, dof, dtype=torch.float64) * 0.01
    return pp.Gaussian(random(name, seed=seed), A @ A.mT + 1e-6 * torch.eye(dof, dtype=torch.float64))


def sampled(X, mean):
    xi = (X @ mean.Inv()).Log().tensor()
    return xi.mT @ xi / len(xi)


@pytest.mark.parametrize('operation', ['compose', 'invert', 'between', 'propagate'])
def test_covariances_match_sampling(name, operation):
    a, b, n = small_gaussian(name, 0), small_gaussian(name, 1), 40000
    generator = torch.Generator().manual_seed(0)
    X, Y = a.sample(n, generator=generator), b.sample(n, generator=generator)
    if operation == 'compose':
        found, elements = a.compose(b), X @ Y
    elif operation == 'invert':
        found, elements = a.invert(), X.Inv()
    elif operation == 'between':
        found, elements = a.between(b), X.between(Y)
    else:
        u = b.mean.Log()
        noise = torch.linalg.cholesky(b.covariance) @ torch.randn(
            GROUPS[name].dof, n, dtype=torch.float64, generator=generator)
        found = a.propagate(u, b.covariance)
        elements = X @ (u + noise.mT).Exp()
    expected = sampled(elements, found.mean)
    assert torch.linalg.matrix_norm(found.covariance - expected) < 0.05 * torch.linalg.matrix_norm(expected)
    assert found.mahalanobis(elements).mean().item() == pytest.approx(GROUPS[name].dof, rel=0.05)


def test_acting_on_points_matches_sampling(name):
    a = small_gaussian(name, 0)
    p = torch.linspace(0.5, 2, GROUPS[name].point, dtype=torch.float64)
    moved, covariance = a.act(p)
    draws = a.sample(40000, generator=torch.Generator().manual_seed(0)) @ p - moved
    expected = draws.mT @ draws / len(draws)
    assert torch.linalg.matrix_norm(covariance - expected) < 0.05 * torch.linalg.matrix_norm(expected)


def test_a_covariance_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match='6x6'):
        pp.Gaussian(pp.randn_SE3(), torch.eye(3))
