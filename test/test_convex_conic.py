"""Sparse programs over second-order cones: optimality, closed forms, independent solvers, gradients."""
import pytest
import torch

from pypose_core.convex import ConicProgram, QpStatus, solve_qp


def program(n=20, linear=15, cones=(5, 5, 3), equations=3, seed=0):
    """P, q, G, h, A, b of a feasible program with half of G zero."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)
    L, q, x = randn(n, n), 2 * randn(n), randn(n)
    G = randn(linear + sum(cones), n) * (torch.rand(linear + sum(cones), n, generator=generator) < 0.5)
    slack = [0.1 * torch.rand(linear, generator=generator).double()]
    for size in cones:
        v = randn(size - 1)
        slack += [v.norm()[None] + 0.1, v]
    A = randn(equations, n)
    return L @ L.mT / n + 0.1 * torch.eye(n).double(), q, G, G @ x + torch.cat(slack), A, A @ x


def inside(x, linear, cones):
    """The least margin of the rows and cones."""
    margins = [x[:linear].min().item()] if linear else []
    for part in x[linear:].split(list(cones)):
        margins.append((part[0] - part[1:].norm()).item())
    return min(margins)


@pytest.mark.parametrize('n, linear, cones, equations', [
    (20, 15, (5, 5, 3), 3), (8, 0, (4, 3), 0), (60, 40, (10,) * 5, 6), (6, 0, (3, 3), 2), (10, 12, (), 0),
    (5, 0, (), 2)])
def test_the_kkt_conditions_hold(n, linear, cones, equations):
    P, q, G, h, A, b = program(n, linear, cones, equations)
    result = ConicProgram(P, G, A, second_order=cones).solve(q, h, b)
    x, z, y = result.x, result.inequality, result.equality
    assert result.status is QpStatus.SOLVED and result.iterations <= 20
    assert (P @ x + q + G.mT @ z + A.mT @ y).abs().max() < 1e-8
    assert not equations or (A @ x - b).abs().max() < 1e-9
    if linear + len(cones):
        slack = h - G @ x
        assert inside(slack, linear, cones) > -1e-8 and inside(z, linear, cones) > -1e-8
        assert abs(slack @ z) < 1e-9 and z.abs().max() > 1e-2


def projected(c):
    """The point of {(t, v): |v| ≤ t} nearest to c outside of it and of its polar."""
    norm = c[1:].norm()
    return torch.cat([((c[0] + norm) / 2)[None], (c[0] + norm) / 2 * c[1:] / norm])


@pytest.mark.parametrize('c', [[0.3, 1.0, -0.5, 0.2], [2.0, 0.5, 0.1, 0.0], [-3.0, 0.5, 0.4, 0.2]],
                         ids=['boundary', 'inside', 'tip'])
def test_projection_onto_a_cone_has_its_closed_form_and_that_forms_gradient(c):
    c = torch.tensor(c, dtype=torch.float64)
    eye, zero = torch.eye(4).double(), torch.zeros(4).double()
    layer = ConicProgram(eye, -eye, second_order=[4])
    expected = projected if abs(c[0]) < c[1:].norm() else (lambda c: 1.0 * c) if c[0] > 0 else (lambda c: 0 * c)
    torch.testing.assert_close(layer.solve(-c, zero).x, expected(c), atol=1e-6, rtol=0)
    found, wanted = (torch.autograd.functional.jacobian(f, c) for f in (lambda c: layer.solve(-c, zero).x, expected))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_without_cones_it_is_the_dense_layer_gradients_included():
    P, q, G, h, A, b = program(10, 12, (), 2)
    given = [t.clone().requires_grad_() for t in (P, q, G, h, A, b)]
    weights = torch.arange(10).double().cos()
    dense = solve_qp(*given).x
    layer = ConicProgram(P, G, A)
    values = [m.values.clone().requires_grad_() for m in (layer.P, layer.G, layer.A)]
    vectors = [t.clone().requires_grad_() for t in (q, h, b)]
    sparse = layer.solve(*vectors, P=values[0], G=values[1], A=values[2])
    torch.testing.assert_close(sparse.x, dense, atol=1e-9, rtol=0)
    expected = torch.autograd.grad((dense * weights).sum(), given)
    found = torch.autograd.grad((sparse.x * weights).sum(), [*values, *vectors])
    for f, e, m in zip(found[:3], expected[::2], (layer.P, layer.G, layer.A)):
        torch.testing.assert_close(f, e[m.places[0], m.places[1]], atol=1e-6, rtol=1e-6)
    for f, e in zip(found[3:], expected[1::2]):
        torch.testing.assert_close(f, e, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('name', ['q', 'h', 'b', 'P', 'G', 'A'])
def test_gradients_at_active_cones_against_finite_differences(name):
    P, q, G, h, A, b = program()
    layer = ConicProgram(P, G, A, second_order=(5, 5, 3))
    given = {'q': q, 'h': h, 'b': b, 'P': layer.P.values, 'G': layer.G.values, 'A': layer.A.values}
    margins = [z[0] for z in layer.solve(q, h, b).inequality[15:].split([5, 5, 3])]
    assert sum(z > 1e-3 for z in margins) >= 2      # cones that matter
    weights = torch.arange(20).double().cos()

    def loss(theta):
        return (layer.solve(**(given | {name: theta})).x * weights).sum()
    theta = given[name].clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(theta), theta)
    scale = max(1.0, found.abs().max().item())
    for seed in range(2):
        direction = torch.randn(len(theta), generator=torch.Generator().manual_seed(seed)).double()
        if name == 'P':     # symmetric
            full = direction.view(20, 20)
            direction = ((full + full.mT) / 2).reshape(-1)
        with torch.no_grad():
            difference = (loss(theta + 1e-4 * direction) - loss(theta - 1e-4 * direction)) / 2e-4
        assert (found @ direction).item() / scale == pytest.approx(difference.item() / scale, abs=1e-5)


def test_clarabel_finds_the_same_optimum():
    clarabel, sparse = (
        pytest.importorskip('clarabel', reason='of the benchmarks (make bench)'), pytest.importorskip('scipy.sparse'))
    P, q, G, h, A, b = program()
    cones = [clarabel.ZeroConeT(3), clarabel.NonnegativeConeT(15), *map(clarabel.SecondOrderConeT, (5, 5, 3))]
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.tol_gap_abs, settings.tol_gap_rel = False, 1e-11, 1e-11
    expected = clarabel.DefaultSolver(sparse.triu(sparse.csc_matrix(P.numpy())).tocsc(), q.numpy(),
                                      sparse.csc_matrix(torch.cat([A, G]).numpy()), torch.cat([b, h]).numpy(), cones,
                                      settings).solve()
    x = ConicProgram(P, G, A, second_order=(5, 5, 3)).solve(q, h, b).x
    assert (0.5 * x @ P @ x + q @ x).item() == pytest.approx(expected.obj_val, rel=1e-8)
    torch.testing.assert_close(x, torch.tensor(expected.x).double(), atol=1e-5, rtol=0)


def test_a_long_chain_stays_sparse_and_the_pattern_serves_other_values():
    """Smoothing with limits on the steps: 3000 unknowns, each coupled to its neighbours alone."""
    n = 3000
    rows = torch.arange(n - 1)
    eye = torch.sparse_coo_tensor(torch.arange(n).expand(2, n), torch.ones(n).double(), (n, n),
                                  check_invariants=True)
    D = torch.sparse_coo_tensor(torch.stack([rows.repeat(2), torch.cat([rows, rows + 1])]),
                                torch.cat([-torch.ones(n - 1), torch.ones(n - 1)]).double(), (n - 1, n),
                                check_invariants=True)
    layer = ConicProgram(eye, torch.cat([D, -D]))
    assert layer.matrix.pattern.value_count < 3 * n
    for phase in (0.0, 1.0):
        target = torch.sin(torch.arange(n) / 30.0 + phase).double()
        result = layer.solve(-target, torch.full((2 * n - 2,), 0.02).double())
        steps = torch.diff(result.x)
        assert result.solved and steps.abs().max() < 0.02 + 1e-8 and (steps.abs() > 0.02 - 1e-6).sum() > n // 4


def test_a_batch_is_its_programs():
    P, q, G, h, A, b = program()
    layer = ConicProgram(P, G, A, second_order=(5, 5, 3))
    many = torch.stack([q, 1.1 * q, 0.9 * q]).requires_grad_()
    together = layer.solve(many, h, b)
    assert together.x.shape == (3, 20) and together.status == [QpStatus.SOLVED] * 3
    (found,) = torch.autograd.grad(together.x.square().sum(), many)
    for i in range(3):
        alone = many[i].detach().requires_grad_()
        x = layer.solve(alone, h, b).x
        torch.testing.assert_close(together.x[i], x, rtol=0, atol=0)
        torch.testing.assert_close(found[i], torch.autograd.grad(x.square().sum(), alone)[0], rtol=0, atol=1e-12)


def test_what_has_no_solution_is_named():
    eye, zero, row = torch.eye(3).double(), torch.zeros(3).double(), torch.tensor([[1.0, 0.0, 0.0]]).double()
    within = ConicProgram(eye, torch.cat([row, -eye]), second_order=[3])        # x in the cone, and x_t ≤ -1
    assert within.solve(zero, torch.tensor([-1.0, 0, 0, 0]).double()).status is QpStatus.INFEASIBLE
    endless = ConicProgram(torch.zeros(3, 3).double(), -eye, second_order=[3])
    assert endless.solve(torch.tensor([-1.0, 0, 0]).double(), zero).status is QpStatus.UNBOUNDED
    assert ConicProgram(-eye).solve(zero).status is QpStatus.NOT_CONVEX


def test_mistakes_are_explained():
    P, q, G, h, A, b = program()
    with pytest.raises(ValueError, match='G has'):
        ConicProgram(P, G, A, nonnegative=3, second_order=(5, 5, 3))
    with pytest.raises(ValueError, match='at least 2'):
        ConicProgram(P, G, A, second_order=(1,))
    layer = ConicProgram(P, G, A, second_order=(5, 5, 3))
    with pytest.raises(ValueError, match='h has shape'):
        layer.solve(q, h[:3], b)
    with pytest.raises(ValueError, match='batches'):
        layer.solve(q.expand(2, -1), h.expand(3, -1), b)
