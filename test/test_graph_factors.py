"""Residuals, Jacobians and robust kernels of the native factors, against automatic differentiation in torch."""
import pytest
import torch

from pypose_core.graph import SE2, SE3, Between, Euclidean, FactorGraph, Prior, Residual, RobustKernel
from pypose_core.lie import so3

GROUPS = {'SE2': SE2, 'SE3': SE3, 'R3': Euclidean(3)}


def random_values(group, count, generator, scale=1.0):
    identity = torch.tensor(group.identity, dtype=torch.float64).expand(count, -1)
    return group.retract(identity, scale * torch.randn(count, group.dof, generator=generator, dtype=torch.float64))


def random_information(group, count, generator):
    A = torch.randn(count, group.dof, group.dof, generator=generator, dtype=torch.float64)
    return A @ A.mT + torch.eye(group.dof, dtype=torch.float64)


def graph_of(group, seed=0, *, scale=1.0, count=8, **kwargs):
    """(graph with native factors, graph of the same factors by automatic differentiation)"""
    g = torch.Generator().manual_seed(seed)
    X = random_values(group, count, g, scale)
    index = torch.tensor([[k, (k + 1) % count] for k in range(count)] + [[5, 2], [7, 3]])
    between, prior = random_values(group, len(index), g, scale), random_values(group, 3, g, scale)
    information = random_information(group, len(index), g)
    graphs = FactorGraph(), FactorGraph()
    for graph in graphs:
        graph.add_variables('x', group, X)
        graph.fix('x', [6])
    graphs[0].add(Between('x', index, between, information=information, **kwargs))
    graphs[0].add(Prior('x', torch.tensor([0, 4, 6]), prior, information=information[:3]))
    root = torch.linalg.cholesky(information).mT
    graphs[1].add(Residual(lambda a, b, z: group.difference(z, group.relative(a, b)), ('x', 'x'), index,
                           data=(between,), sqrt_information=root, **kwargs))
    graphs[1].add(Residual(lambda a, z: group.difference(z, a), ('x',), torch.tensor([0, 4, 6]), data=(prior,),
                           sqrt_information=root[:3]))
    return graphs


@pytest.mark.parametrize('scale', [1e-9, 1e-4, 0.3, 1.5])
@pytest.mark.parametrize('name', GROUPS)
def test_normal_equations_equal_automatic_differentiation(name, scale):
    native, automatic = graph_of(GROUPS[name], scale=scale)
    cost, chi2, H, g = native.problem().linearize(native.values)
    cost_, chi2_, H_, g_ = automatic.problem().linearize(automatic.values)
    assert cost == pytest.approx(cost_, rel=1e-9) and chi2 == pytest.approx(chi2_, rel=1e-9)
    torch.testing.assert_close(g, g_, rtol=1e-7, atol=1e-9 * max(1, scale))
    torch.testing.assert_close(H.to_dense(), H_.to_dense(), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize('name', GROUPS)
def test_gradient_equals_finite_differences_of_the_cost(name):
    graph, _ = graph_of(GROUPS[name], kernel=RobustKernel.CAUCHY, width=2.0)
    problem = graph.problem()
    g = problem.linearize(graph.values)[3]
    step = 1e-6
    for k in range(0, problem.dimension, 5):
        d = torch.zeros(problem.dimension, dtype=torch.float64)
        d[k] = step
        up, down = (problem.cost(problem.retract(graph.values, sign * d))[0] for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(2 * float(g[k]), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize('name', ['SE2', 'SE3'])
def test_native_retraction_equals_the_reference(name):
    group = GROUPS[name]
    graph, _ = graph_of(group)
    problem = graph.problem()
    d = torch.randn(problem.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    moved = problem.retract(graph.values, d)['x']
    free = torch.tensor([0, 1, 2, 3, 4, 5, 7])
    torch.testing.assert_close(moved[free], group.retract(graph.values['x'][free], d.view(7, group.dof)))
    assert torch.equal(moved[6], graph.values['x'][6])


@pytest.mark.parametrize('kernel', [k for k in RobustKernel if k is not RobustKernel.NONE])
def test_weight_is_the_derivative_of_the_kernel(kernel):
    def cost_and_slope(z):
        graph = FactorGraph()
        graph.add_variables('x', Euclidean(1), torch.zeros(1, 1))
        prior = torch.tensor([[z]], dtype=torch.float64)
        graph.add(Prior('x', torch.tensor([0]), prior, kernel=kernel, width=1.5))
        cost, chi2, _, g = graph.problem().linearize(graph.values)
        assert chi2 == pytest.approx(z * z)
        return cost, float(g[0])
    for z in (0.3, 1.2, 2.5, 6.0):
        cost, g = cost_and_slope(z)
        slope = (cost_and_slope(z + 1e-6)[0] - cost_and_slope(z - 1e-6)[0]) / 2e-6
        assert slope == pytest.approx(-2 * g, rel=1e-6, abs=1e-8)
        assert cost <= z * z
    assert cost_and_slope(1e-4)[0] == pytest.approx(1e-8, rel=1e-6)     # rho(s) = s near 0


def test_weights_scale_the_information():
    group = SE3
    generator = torch.Generator().manual_seed(1)
    X, Z = random_values(group, 2, generator), random_values(group, 1, generator)
    costs = []
    for weight, information in ((torch.tensor([2.5]), torch.eye(6)), (None, 2.5 * torch.eye(6))):
        graph = FactorGraph()
        graph.add_variables('x', group, X)
        graph.add(Between('x', torch.tensor([[0, 1]]), Z, information=information, weight=weight))
        costs.append(graph.problem().linearize(graph.values))
    assert costs[0][0] == pytest.approx(costs[1][0])
    torch.testing.assert_close(costs[0][2].values, costs[1][2].values)


def test_factors_may_join_variables_of_different_groups():
    """A camera-like bearing of points from poses: residual R' (p - t) - z."""
    generator = torch.Generator().manual_seed(2)
    poses, points = random_values(SE3, 4, generator, 0.3), torch.randn(3, 3, generator=generator, dtype=torch.float64)
    seen = torch.cartesian_prod(torch.arange(4), torch.arange(3))

    def residual(X, p, z):
        return so3.act(so3.inv(X[3:]), p - X[:3]) - z

    exact = torch.func.vmap(residual)(poses[seen[:, 0]], points[seen[:, 1]], torch.zeros(12, 3, dtype=torch.float64))
    graph = FactorGraph()
    graph.add_variables('pose', SE3, poses)
    graph.add_variables('point', Euclidean(3), points + 0.1)
    graph.fix('pose', [0])
    off = torch.full((3, 6), 0.05, dtype=torch.float64)
    graph.set_values('pose', torch.cat([poses[:1], SE3.retract(poses[1:], off)]))
    graph.add(Residual(residual, ('pose', 'point'), seen, data=(exact,)))
    result = graph.optimize()
    assert result.status.ok, str(result)
    torch.testing.assert_close(result.value['point'], points, atol=1e-6, rtol=0)
    torch.testing.assert_close(result.value['pose'][:, :3], poses[:, :3], atol=1e-6, rtol=0)


def test_semidefinite_information_leaves_directions_free():
    information = torch.diag(torch.tensor([1., 1., 0.]))
    graph = FactorGraph()
    graph.add_variables('x', Euclidean(3), torch.zeros(1, 3))
    graph.add(Prior('x', torch.tensor([0]), torch.tensor([[1., 2., 3.]]), information=information))
    other = torch.diag(torch.tensor([0., 0., 1.]))
    graph.add(Prior('x', torch.tensor([0]), torch.tensor([[5., 5., 4.]]), information=other))
    torch.testing.assert_close(graph.optimize().value['x'][0], torch.tensor([1., 2., 4.], dtype=torch.float64))


@pytest.mark.parametrize('make, message', [
    (lambda: Between('x', torch.tensor([[0, 1]]), torch.zeros(1, 7), information=-torch.eye(6)), 'semidefinite'),
    (lambda: Between('x', torch.tensor([[0, 2]]), torch.zeros(1, 7)), 'outside x'),
    (lambda: Between('y', torch.tensor([[0, 1]]), torch.zeros(1, 7)), "no variables 'y'"),
    (lambda: Between('x', torch.tensor([[0, 1]]), torch.zeros(1, 6)), 'measured must have shape'),
    (lambda: Between('x', torch.tensor([[0, 1]]), torch.full((1, 7), float('nan'))), 'not finite'),
    (lambda: Between('x', torch.tensor([[1, 1]]), torch.zeros(1, 7)), 'with itself'),
    (lambda: Between('x', torch.tensor([0, 1]), torch.zeros(1, 7)), 'index must have shape'),
    (lambda: Prior('x', torch.tensor([0]), torch.zeros(1, 7), kernel=RobustKernel.HUBER, width=0), 'width'),
    (lambda: Residual(lambda a, z: a[:3] - z, ('x',), torch.tensor([0, 1]), data=(torch.zeros(1, 3),)), 'rows'),
])
def test_factors_that_do_not_fit_are_refused(make, message):
    graph = FactorGraph()
    graph.add_variables('x', SE3, torch.tensor(SE3.identity).repeat(2, 1))
    with pytest.raises(ValueError, match=message):
        graph.add(make())
