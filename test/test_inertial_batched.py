"""Batched preintegration: the native kernel and its reverse mode, the reference, finite differences."""
import pytest
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.inertial.operators import preintegrate_sequences
from pypose_core.inertial.reference import preintegrate_reference

needs_native = pytest.mark.skipif(not native.available, reason=native.status)


def inputs(B: int, F: int, *, noise_B: int = 1, noise_F: int = 1, dtype=torch.float64) -> list[Tensor]:
    """Samples with a pause of dt = 0, biases, full noise matrices and a full covariance at the start."""
    generator = torch.Generator().manual_seed(B * 100 + F)

    def randn(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)
    samples = randn(B, F, 7)
    samples[..., 0] = 0.01 + 0.002 * torch.rand(B, F, generator=generator, dtype=torch.float64)
    samples[0, F // 2, 0] = 0
    samples[..., 6] += 9.8
    factor, first = randn(noise_B, noise_F, 5, 3, 3), randn(B, 15, 15)
    values = samples, 0.1 * randn(B, 6), 0.01 * factor @ factor.mT, 0.01 * first @ first.mT
    return [x.to(dtype).requires_grad_() for x in values]


def vjp(function, values, seed: int = 0):
    outputs = function(*values)
    generator = torch.Generator().manual_seed(seed)
    bars = [torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype) for y in outputs]
    return outputs, torch.autograd.grad(outputs, values, bars)


def symmetrized(values: list[Tensor]) -> list[Tensor]:
    samples, bias, noise, covariance = values
    return [samples, bias, (noise + noise.mT) / 2, (covariance + covariance.mT) / 2]


def reference(*values, every: bool):
    """The reference on the symmetric part of noise and covariance, as the operator takes them."""
    return preintegrate_reference(*symmetrized(values), every)


def assert_close(a: Tensor, b: Tensor, relative: float) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=relative * max(1., b.abs().max().item()))


@needs_native
@pytest.mark.parametrize('dtype, relative', [(torch.float64, 1e-14), (torch.float32, 5e-6)])
@pytest.mark.parametrize('every', [False, True])
@pytest.mark.parametrize('B, F, noise_B, noise_F', [
    (1, 1, 1, 1), (3, 20, 1, 1), (3, 20, 3, 20), (2, 7, 1, 7), (2, 7, 2, 1)])
def test_native_values_and_gradients_equal_the_reference(B, F, noise_B, noise_F, every, dtype, relative):
    values = inputs(B, F, noise_B=noise_B, noise_F=noise_F, dtype=dtype)
    ours, gradients = vjp(lambda *x: preintegrate_sequences(*x, every), values)
    expected, expected_gradients = vjp(lambda *x: reference(*x, every=every), values)
    for a, b in zip((*ours, *gradients), (*expected, *expected_gradients)):
        assert a.dtype is dtype
        assert_close(a, b, relative * 10)


@needs_native
def test_without_covariance_nothing_else_changes():
    samples, bias, noise, covariance = inputs(2, 9)
    with_covariance = preintegrate_sequences(samples, bias, noise, covariance, True)
    without = preintegrate_sequences(samples, bias, noise, None, True)
    assert_close(without[0], with_covariance[0], 1e-15)
    assert_close(without[1], with_covariance[1], 1e-15)
    assert without[2].shape == (2, 0, 0)
    a = torch.autograd.grad(with_covariance[0].square().sum(), (samples, bias))
    b = torch.autograd.grad(without[0].square().sum(), (samples, bias))
    for x, y in zip(a, b):
        assert_close(x, y, 1e-14)


@pytest.mark.parametrize('function', [
    pytest.param(lambda *x: preintegrate_sequences(*x, True), id='native', marks=needs_native),
    pytest.param(lambda *x: reference(*x, every=True), id='reference')])
@pytest.mark.parametrize('rate', [0., 1.], ids=['at rest', 'turning'])
def test_first_and_second_derivatives_agree_with_finite_differences(function, rate):
    values = inputs(1, 2)
    with torch.no_grad():
        values[0][..., 1:4] = rate * values[0][..., 1:4] + (1 - rate) * values[1][:, None, :3]
    assert torch.autograd.gradcheck(function, values, atol=1e-6)
    assert torch.autograd.gradgradcheck(function, values, atol=1e-4, fast_mode=True)


@needs_native
def test_third_derivatives_equal_the_reference():
    values = inputs(1, 3)

    def third(function):
        y = function(values[0])
        for _ in range(3):
            y, = torch.autograd.grad(y.square().sum(), values[0], create_graph=True)
        return y
    ours = third(lambda s: preintegrate_sequences(s, *values[1:], False)[0])
    assert_close(ours, third(lambda s: reference(s, *values[1:], every=False)[0]), 1e-9)


@needs_native
def test_function_transforms_equal_plain_gradients():
    samples, bias, noise, covariance = (x.detach() for x in inputs(2, 4))

    def loss(samples, bias):
        return sum(y.square().sum() for y in preintegrate_sequences(samples, bias, noise, covariance, True))
    leaf = samples.clone().requires_grad_()
    expected, = torch.autograd.grad(loss(leaf, bias), leaf)
    assert_close(torch.func.grad(loss)(samples, bias), expected, 1e-13)
    assert_close(torch.func.jacfwd(loss)(samples, bias), expected, 1e-13)

    def single(sample, b, p):
        return preintegrate_sequences(sample[None], b[None], noise, p[None], True)[0][0]
    together = preintegrate_sequences(samples, bias, noise, covariance, True)[0]
    assert_close(torch.vmap(single)(samples, bias, covariance), together, 1e-14)


@needs_native
def test_the_operators_keep_the_promises_of_torch_library():
    samples, bias, noise, covariance = inputs(2, 5)
    checks = ('test_schema', 'test_faketensor', 'test_autograd_registration')
    for optional in ((covariance, True, True), (None, False, False)):
        arguments = samples, bias, noise, *optional
        torch.library.opcheck(torch.ops.pypose.preintegrate.default, arguments, test_utils=checks)


@needs_native
def test_memory_of_the_gradient_grows_with_the_root_of_the_samples():
    saved = []
    for F in (100, 10000):
        samples, bias, noise, covariance = inputs(1, F)
        *_, checkpoints = torch.ops.pypose.preintegrate(samples, bias, noise, covariance, False, True)
        saved.append(checkpoints.numel())
    assert saved[1] <= 11 * saved[0]


@needs_native
@pytest.mark.parametrize('change, message', [
    (dict(samples=torch.zeros(2, 5, 6)), r'samples must be \(B, F, 7\)'),
    (dict(bias=torch.zeros(1, 6)), r'bias must be \(B, 6\)'),
    (dict(noise=torch.zeros(3, 1, 5, 3, 3)), 'noise must be'),
    (dict(covariance=torch.zeros(2, 9, 9)), 'covariance must be'),
    (dict(bias=torch.zeros(2, 6, dtype=torch.float64)), 'one dtype')])
def test_wrong_shapes_are_refused_by_name(change, message):
    arguments = dict(samples=torch.zeros(2, 5, 7), bias=torch.zeros(2, 6), noise=torch.zeros(1, 1, 5, 3, 3),
                     covariance=torch.zeros(2, 15, 15)) | change
    with pytest.raises(RuntimeError, match=message):
        preintegrate_sequences(*arguments.values(), False)
