"""Rotations on plain tensors are right, with three derivatives, at every angle."""
import math

import mpmath
import pytest
import torch

from pypose_core.lie import so3
from pypose_core.lie.stumpff import atan_ratio, stumpff

ANGLES = [0.0, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 0.9, 1.1, math.pi - 1e-6, math.pi, 2 * math.pi]
AXIS = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64) / 3


def derivatives(f, x: float, order: int) -> list[float]:
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    values = [f(x)]
    for _ in range(order):
        values.append(torch.autograd.grad(values[-1], x, create_graph=True)[0])
    return [v.item() for v in values]


@pytest.mark.parametrize('k', range(8))
@pytest.mark.parametrize('theta', ANGLES)
def test_stumpff_and_three_derivatives_match_mpmath(theta, k):
    with mpmath.workdps(60):
        x = mpmath.mpf(theta * theta)
        # The n-th derivative of the series, term by term.
        wanted = [float(sum((-1) ** j * mpmath.ff(j, n) * x ** (j - n) / mpmath.factorial(2 * j + k)
                            for j in range(n, 60))) for n in range(4)]
    found = derivatives(lambda x: stumpff(x, max(k, 1))[k], theta * theta, 3)
    assert found == pytest.approx(wanted, rel=1e-11, abs=5e-15)


@pytest.mark.parametrize('theta', ANGLES[:-1])
def test_atan_ratio_and_three_derivatives_match_mpmath(theta):
    n2, w = math.sin(theta / 2) ** 2, max(math.cos(theta / 2), 0.0)

    def exact(t):
        n = mpmath.sqrt(t)
        return mpmath.atan2(n, w) / n

    with mpmath.workdps(60):
        at = mpmath.mpf(n2)
        if n2 > 1e-6:
            wanted = [float(mpmath.diff(exact, at, n)) for n in range(4)]
        else:
            series = [(-1) ** j / (2 * j + 1) / mpmath.mpf(w) ** (2 * j + 1) for j in range(12)]
            wanted = [float(sum(s * mpmath.ff(j, n) * at ** (j - n) for j, s in enumerate(series) if j >= n))
                      for n in range(4)]
    found = derivatives(lambda t: atan_ratio(t, torch.tensor(w, dtype=torch.float64)), n2, 3)
    assert found == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize('theta', ANGLES[:-1])
def test_log_inverts_exp(theta):
    assert torch.allclose(so3.log(so3.exp(theta * AXIS)), theta * AXIS, atol=1e-14)


@pytest.mark.parametrize('theta', ANGLES)
def test_exp_is_the_matrix_exponential(theta):
    phi = theta * AXIS
    assert torch.allclose(so3.matrix(so3.exp(phi)), torch.linalg.matrix_exp(so3.hat(phi)), atol=1e-14)


@pytest.mark.parametrize('theta', ANGLES)
def test_float32_is_as_accurate_as_float32_allows(theta):
    phi = (theta * AXIS).float()
    assert torch.allclose(so3.exp(phi).double(), so3.exp(phi.double()), rtol=2e-7, atol=2e-7)
    assert torch.allclose(so3.jl(phi).double(), so3.jl(phi.double()), rtol=1e-6, atol=4e-7)
    jacobian = torch.func.jacfwd(so3.exp)
    assert torch.allclose(jacobian(phi).double(), jacobian(phi.double()), rtol=1e-6, atol=4e-7)


@pytest.mark.parametrize('theta', ANGLES[:-1])
def test_jacobians_are_the_derivatives_of_exp(theta):
    phi = theta * AXIS
    # q' = [δ/2, 0] o q for a left perturbation δ, q o [δ/2, 0] for a right one.
    jacobian, q = torch.func.jacrev(so3.exp)(phi).mT, so3.exp(phi)
    left = 2 * so3.mul(jacobian, so3.inv(q))[:, :3].mT
    right = 2 * so3.mul(so3.inv(q), jacobian)[:, :3].mT
    assert torch.allclose(left, so3.jl(phi), atol=1e-14)
    assert torch.allclose(right, so3.jr(phi), atol=1e-14)
    eye = torch.eye(3, dtype=phi.dtype)
    assert torch.allclose(so3.jl_inv(phi) @ so3.jl(phi), eye, atol=1e-13)
    assert torch.allclose(so3.jr_inv(phi) @ so3.jr(phi), eye, atol=1e-13)


@pytest.mark.parametrize('theta', [0.0, 1e-8, 1e-3, 0.9, 2.0])
@pytest.mark.parametrize('f', [so3.exp, lambda p: so3.log(so3.exp(p)), so3.jl, so3.jr_inv],
                         ids=['exp', 'log exp', 'jl', 'jr_inv'])
def test_first_and_second_derivatives_match_finite_differences(f, theta):
    phi = (theta * AXIS).requires_grad_()
    assert torch.autograd.gradcheck(f, phi)
    assert torch.autograd.gradgradcheck(f, phi)


def test_products_act_as_matrices_do():
    generator = torch.Generator().manual_seed(0)
    a, b = (so3.exp(torch.randn(5, 3, dtype=torch.float64, generator=generator)) for _ in range(2))
    v = torch.randn(4, 1, 3, dtype=torch.float64, generator=generator)
    A, B = so3.matrix(a), so3.matrix(b)
    assert torch.allclose(so3.matrix(so3.mul(a, b)), A @ B)
    assert torch.allclose(so3.matrix(so3.inv(a)), A.mT)
    assert torch.allclose(so3.act(a, v), (A @ v[..., None])[..., 0])
    assert torch.equal(so3.vee(so3.hat(v)), v)


def test_opposite_quaternions_have_one_log():
    q = so3.exp(torch.tensor([[0.3, -2.0, 1.0], [1e-9, 0, 0], [0, 0, 0]], dtype=torch.float64))
    assert torch.equal(so3.log(-q), so3.log(q))
