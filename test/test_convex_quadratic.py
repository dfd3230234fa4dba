"""Quadratic programs: optimality, statuses, gradients against finite differences of the solver."""
import numpy as np
import pytest
import scipy.optimize
import torch

from pypose_core.convex import ConicProgram, QpStatus, solve_qp


def program(n=8, m=10, p=2, seed=0, batch=None):
    """A feasible program with some active inequalities."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*(() if batch is None else (batch,)), *shape, generator=generator, dtype=torch.float64)
    L, x = randn(n, n), randn(n)
    G, A = randn(m, n), randn(p, n)
    return (L @ L.mT / n + 0.1 * torch.eye(n).double(), 2 * randn(n), G,
            (G @ x.unsqueeze(-1)).squeeze(-1) + 0.1 * randn(m).abs(), A, (A @ x.unsqueeze(-1)).squeeze(-1))


@pytest.mark.parametrize('sizes', [(8, 10, 2), (5, 12, 0), (6, 0, 3), (9, 0, 0), (1, 1, 0), (50, 50, 0), (23, 40, 7)])
def test_the_kkt_conditions_hold(sizes):
    P, q, G, h, A, b = program(*sizes)
    result = solve_qp(P, q, G, h, A, b)
    x, lam, nu = result.x, result.inequality, result.equality
    assert result.status is QpStatus.SOLVED and result.solved and result.iterations <= 25
    assert (P @ x + q + G.mT @ lam + A.mT @ nu).abs().max() < 1e-8 if sum(sizes[1:]) else True
    assert (A @ x - b).abs().max() < 1e-9 if sizes[2] else True
    if sizes[1]:
        assert (G @ x - h).max() < 1e-9 and lam.min() >= 0 and (lam * (h - G @ x)).abs().max() < 1e-8
        assert lam.max() > 1e-3 or sizes[1] == 1


def test_the_optimum_is_that_of_scipy():
    P, q, G, h, A, b = (t.numpy() for t in program(6, 8, 1, seed=4))
    found = solve_qp(*map(torch.from_numpy, (P, q, G, h, A, b))).x.numpy()
    expected = scipy.optimize.minimize(
        lambda x: 0.5 * x @ P @ x + q @ x, np.zeros(6), jac=lambda x: P @ x + q, method='SLSQP',
        options={'ftol': 1e-14},
        constraints=[{'type': 'ineq', 'fun': lambda x: h - G @ x, 'jac': lambda x: -G},
                     {'type': 'eq', 'fun': lambda x: A @ x - b, 'jac': lambda x: A}])
    np.testing.assert_allclose(found, expected.x, atol=1e-6)


@pytest.mark.parametrize('name', ['P', 'q', 'G', 'h', 'A', 'b'])
def test_gradients_at_active_constraints(name):
    arguments = list(program())
    result = solve_qp(*arguments)
    assert 2 <= (result.inequality > 1e-4).sum() <= 8
    i, weights, h = 'PqGhAb'.index(name), torch.arange(8).double().cos(), 1e-6

    def loss(theta):
        given = [*arguments]
        given[i] = 0.5 * (theta + theta.mT) if name == 'P' else theta
        return (solve_qp(*given).x * weights).sum()
    theta = arguments[i].clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(theta), theta)
    expected = torch.zeros_like(found)
    with torch.no_grad():
        for j in range(theta.numel()):
            step = torch.zeros_like(theta)
            step.view(-1)[j] = h
            expected.view(-1)[j] = (loss(theta + step) - loss(theta - step)) / (2 * h)
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_batch_is_its_programs_and_shared_arguments_add_up():
    P, q, G, h, A, b = program(batch=4, seed=2)
    P, G = P[0].requires_grad_(), G[0].requires_grad_()
    h = (G.detach() @ torch.randn(4, 8, 1, generator=torch.Generator().manual_seed(3)).double()).squeeze(-1) + 1
    A, b = A[0], torch.zeros(2).double()
    together = solve_qp(P, q, G, h, A, b)
    assert together.x.shape == (4, 8) and together.status == [QpStatus.SOLVED] * 4
    grads = torch.autograd.grad(together.x.square().sum(), (P, G))
    alone = [solve_qp(P, q[i], G, h[i], A, b).x for i in range(4)]
    torch.testing.assert_close(together.x, torch.stack(alone), rtol=0, atol=1e-10)
    expected = torch.autograd.grad(sum(x.square().sum() for x in alone), (P, G))
    for found, wanted in zip(grads, expected):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_contradictions_are_infeasible():
    P, q = torch.eye(2).double(), torch.zeros(2).double()
    G = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]).double()
    result = solve_qp(P, q, G, torch.tensor([-1.0, -1.0, 5.0]).double())      # x <= -1 and x >= 1
    assert result.status is QpStatus.INFEASIBLE and not result.solved
    assert result.inequality[:2].min() > 1e3 * result.inequality[2]


def test_a_direction_without_end_is_unbounded():
    G, h = -torch.eye(2).double(), torch.zeros(2).double()
    result = solve_qp(torch.diag(torch.tensor([1.0, 0.0])).double(), torch.tensor([0.0, -1.0]).double(), G, h)
    assert result.status is QpStatus.UNBOUNDED


def test_a_linear_program_is_solved():
    G = torch.tensor([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]]).double()
    result = solve_qp(torch.zeros(2, 2).double(), torch.tensor([-1.0, -2.0]).double(), G,
                      torch.tensor([0.0, 0.0, 1.0]).double())
    assert result.solved
    torch.testing.assert_close(result.x, torch.tensor([0.0, 1.0]).double(), atol=1e-8, rtol=0)


def test_an_indefinite_matrix_is_refused():
    result = solve_qp(torch.diag(torch.tensor([1.0, -1.0])).double(), torch.zeros(2).double())
    assert result.status is QpStatus.NOT_CONVEX


@pytest.mark.parametrize('name', ['P', 'q', 'G', 'h', 'A', 'b'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_finite_is_named(name, value):
    arguments = list(program(5, 4, 1))
    arguments['PqGhAb'.index(name)].view(-1)[0] = value
    P, q, G, h, A, b = arguments
    for result in (solve_qp(*arguments), ConicProgram(P, G, A).solve(q, h, b)):
        assert result.status is QpStatus.NOT_FINITE and result.x.isnan().all()


def test_an_empty_batch_has_an_empty_solution():
    P, q, G, h, A, b = program()
    result = solve_qp(P, q.expand(0, -1), G, h, A, b)
    assert result.x.shape == (0, 8) and result.status == [] and result.iterations == 0


def test_mistakes_are_explained():
    P, q, G, h, A, b = program()
    with pytest.raises(ValueError, match='together'):
        solve_qp(P, q, G)
    with pytest.raises(ValueError, match='G has shape'):
        solve_qp(P, q, G[:, :3], h)
    with pytest.raises(ValueError, match='batches'):
        solve_qp(P.expand(2, -1, -1), q.expand(3, -1), G, h)
