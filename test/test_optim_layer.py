"""Least squares as a layer: gradients of the solution against finite differences and closed forms."""
import pytest
import torch

import pypose_core as pp

f64 = torch.float64
SolverLayer = pp.optim.SolverLayer


def linear(x, A, b):
    return (A @ x - b).unsqueeze(-1)


def averaging(X, Z):
    """X is the mean of Z; six numbers for each."""
    return (X.Inv() @ pp.SE3(Z)).Log().tensor()


def data():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(5, 3, generator=generator, dtype=f64), torch.randn(5, generator=generator, dtype=f64))


def poses(count=4):
    torch.manual_seed(0)
    return pp.randn_se3(count, sigma=0.3, dtype=f64).tensor()


def information():
    torch.manual_seed(1)
    M = torch.randn(4, 6, 6, dtype=f64)
    return M @ M.mT + torch.eye(6, dtype=f64)


@pytest.mark.parametrize('gradient', ['implicit', 'unroll', 'truncated'])
def test_linear_least_squares_is_the_pseudo_inverse(gradient):
    A, b = data()
    A.requires_grad_(), b.requires_grad_()
    layer = SolverLayer(linear, gradient=gradient, damping=1e-14)
    start = torch.zeros(3, dtype=f64)
    torch.testing.assert_close(layer(start, A, b), torch.linalg.pinv(A) @ b, rtol=1e-9, atol=1e-11)
    for value, expected in zip(torch.autograd.grad(layer(start, A, b)[0], (A, b)),
                               torch.autograd.grad((torch.linalg.pinv(A) @ b)[0], (A, b))):
        torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('gradient, kernel', [('implicit', None), ('implicit', pp.optim.kernel.Cauchy(1.0)),
                                              ('unroll', None), ('unroll', pp.optim.kernel.Cauchy(1.0))])
def test_gradcheck_by_measurements_and_information(gradient, kernel):
    layer = SolverLayer(averaging, gradient=gradient, kernel=kernel, steps=4)
    W = information()

    def mean(xi, M):
        start = pp.identity_SE3(dtype=f64)
        return layer(start, pp.se3(xi).Exp().tensor(), weight=W + M @ M.mT).Log().tensor()

    xi, M = poses(), 0.1 * torch.ones(4, 6, 1, dtype=f64)
    assert torch.autograd.gradcheck(mean, (xi.requires_grad_(), M.requires_grad_()), eps=1e-5, atol=1e-5,
                                    fast_mode=True)
    if gradient == 'implicit':
        assert layer.result.status.converged


def gradient_of(layer, xi):
    Z = pp.se3(xi).Exp().tensor()
    mean = layer(pp.identity_SE3(dtype=f64), Z, weight=information())
    return torch.autograd.grad(mean.Log().tensor()[:3].square().sum(), xi)[0]


def test_unrolled_and_truncated_gradients_approach_the_implicit_one():
    xi = poses().requires_grad_()
    exact = gradient_of(SolverLayer(averaging), xi)
    errors = {gradient: [float((gradient_of(SolverLayer(averaging, gradient=gradient, steps=steps), xi)
                                - exact).norm() / exact.norm()) for steps in (1, 3, 12)]
              for gradient in ('unroll', 'truncated')}
    for error in errors.values():
        assert error[0] > error[1] > error[2] and error[2] < 1e-5


def test_implicit_gradient_leaves_the_solution_as_it_is():
    xi = poses()
    Z = pp.se3(xi).Exp().tensor()
    start = pp.identity_SE3(dtype=f64)
    with torch.no_grad():
        expected = SolverLayer(averaging)(start, Z)
    solution = SolverLayer(averaging)(start, Z.requires_grad_())
    assert isinstance(solution, pp.SE3) and solution.requires_grad
    torch.testing.assert_close(solution.tensor().detach(), expected.tensor(), rtol=0, atol=1e-15)


def test_several_unknowns():
    def residual(X, offset, Z, p):
        return torch.cat([averaging(X, Z), X.Act(offset).unsqueeze(0).expand(4, 3) - p], -1)

    def solve(p):
        X, offset = layer(pp.identity_SE3(dtype=f64), torch.zeros(3, dtype=f64), Z, p)
        return X.Log().tensor(), offset

    layer = SolverLayer(residual, unknowns=2)
    Z = pp.se3(poses()).Exp().tensor()
    p = data()[0][:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(solve, (p,), eps=1e-5, atol=1e-5, fast_mode=True)


def test_a_network_learns_through_the_solution():
    """Noisy measurements of one pose, each with a feature that tells how noisy: the network learns to weigh."""
    torch.manual_seed(0)
    truth = pp.randn_SE3(dtype=f64)
    sigma = torch.tensor([0.01, 0.5, 0.01, 0.5, 0.01, 0.5], dtype=f64)
    Z = (pp.se3(sigma[:, None] * torch.randn(6, 6, dtype=f64)).Exp() @ truth).tensor()
    network = torch.nn.Linear(1, 1).double()
    layer = SolverLayer(lambda X, Z, w: w * averaging(X, Z))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.3)
    losses = []
    for _ in range(15):
        w = torch.nn.functional.softplus(network(sigma[:, None])) + 1e-3
        X = layer(pp.identity_SE3(dtype=f64), Z, w)
        loss = (truth.Inv() @ X).Log().tensor().square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_no_gradient_where_an_unknown_is_without_constraint():
    layer = SolverLayer(lambda x, b: x[:1] - b)
    with pytest.raises(torch.linalg.LinAlgError, match='without constraint'):
        layer(torch.zeros(2, dtype=f64), torch.ones(1, dtype=f64, requires_grad=True))
    assert layer(torch.zeros(2, dtype=f64), torch.ones(1, dtype=f64)).tolist() == [1, 0]
    with pytest.raises(ValueError, match='implicit'):
        SolverLayer(linear, gradient='adjoint')
