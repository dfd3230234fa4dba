"""Robust kernels: their forms, their derivatives, and what they refuse."""
import math

import pytest
import torch

import pypose_core as pp

kernel = pp.optim.kernel
DELTAS = (kernel.Huber, kernel.PseudoHuber, kernel.Cauchy, kernel.Tukey, kernel.GemanMcClure, kernel.Welsch)
ALL = [cls(0.7) for cls in DELTAS] + [kernel.SoftLOne(0.7), kernel.Arctan(0.7), kernel.Tolerant(2.0, -0.5),
                                      kernel.Scale(0.4)]
#: Values at x = 0, 0.5, 1, 2, 3 for δ = 1 from the definitions.
TABLE = {
    kernel.Huber: (0, 0.5, 1, 2 * math.sqrt(2) - 1, 2 * math.sqrt(3) - 1),
    kernel.PseudoHuber: tuple(2 * (math.sqrt(1 + x) - 1) for x in (0, 0.5, 1, 2, 3)),
    kernel.SoftLOne: tuple(2 * (math.sqrt(1 + x) - 1) for x in (0, 0.5, 1, 2, 3)),
    kernel.Cauchy: tuple(math.log(1 + x) for x in (0, 0.5, 1, 2, 3)),
    kernel.Arctan: tuple(math.atan(x) for x in (0, 0.5, 1, 2, 3)),
    kernel.Scale: (0, 0.5, 1, 2, 3),
    kernel.Tukey: ((0, (1 - 0.125) / 3) + (1 / 3,) * 3),
    kernel.GemanMcClure: tuple(x / (1 + x) for x in (0, 0.5, 1, 2, 3)),
    kernel.Welsch: tuple(1 - math.exp(-x) for x in (0, 0.5, 1, 2, 3)),
}


def name(k):
    return type(k).__name__


@pytest.mark.parametrize('cls', TABLE, ids=lambda cls: cls.__name__)
def test_values(cls):
    x = torch.tensor([0, 0.5, 1, 2, 3], dtype=torch.float64)
    torch.testing.assert_close(cls()(x), torch.tensor(TABLE[cls], dtype=torch.float64), rtol=1e-12, atol=1e-15)


def test_tolerant_is_flat_beyond_a_and_does_not_overflow():
    a, b = 2.0, -0.5
    x = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    expected = [b * math.log(1 + math.exp((v - a) / b)) - b * math.log(1 + math.exp(-a / b)) for v in (0, 1, 4)]
    torch.testing.assert_close(kernel.Tolerant(a, b)(x), torch.tensor(expected, dtype=torch.float64))
    sharp = kernel.Tolerant(1e4, -0.1)(torch.tensor([0.0, 1.0, 1e5], dtype=torch.float64))
    torch.testing.assert_close(sharp, torch.tensor([0.0, 1.0, 1e4], dtype=torch.float64))


@pytest.mark.parametrize('k', ALL, ids=name)
def test_zero_at_zero_increasing_and_no_faster_than_x(k):
    x = torch.linspace(0, 30, 3001, dtype=torch.float64)
    y = k(x)
    slope = y.diff() / x.diff()
    if not isinstance(k, kernel.SoftLOne):  # PyPose's form is zero at zero for every δ, but not always below x
        assert (slope <= 1 + 1e-9).all()
    assert abs(float(y[0])) < 1e-15 and (slope >= -1e-12).all()


@pytest.mark.parametrize('k', [k for k in ALL if not isinstance(k, (kernel.Scale, kernel.SoftLOne))], ids=name)
def test_like_least_squares_near_zero(k):
    x = torch.tensor([0.0, 1e-9], dtype=torch.float64, requires_grad=True)
    slope, = torch.autograd.grad(k(x).sum(), x)
    expected = torch.full_like(slope, 1 / (1 + math.exp(-4)) if isinstance(k, kernel.Tolerant) else 1)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize('k', ALL, ids=name)
def test_derivatives(k):
    x = torch.tensor([1e-3, 0.1, 0.6, 2.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(k, x)
    assert torch.autograd.gradgradcheck(k, x)
    zero = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    first, = torch.autograd.grad(k(zero).sum(), zero, create_graph=True)
    assert first.isfinite().all()
    if first.requires_grad:
        second, = torch.autograd.grad(first.sum(), zero, allow_unused=True, materialize_grads=True)
        assert second.isfinite().all()


def test_refusals():
    with pytest.raises(ValueError, match='squared norms'):
        kernel.Huber()(torch.tensor([1.0, -1e-3]))
    for make in (lambda: kernel.Huber(0), lambda: kernel.Tukey(-1), lambda: kernel.Tolerant(-1.0),
                 lambda: kernel.Tolerant(1.0, 1.0), lambda: kernel.Scale(2.0), lambda: kernel.Arctan(0)):
        with pytest.raises(ValueError):
            make()
