"""The streaming kernel: one packed row, one sample at a time."""
import math

import pytest
import torch

from pypose_core import native
from pypose_core.inertial import ImuNoise
from pypose_core.lie import so3

pytestmark = pytest.mark.skipif(not native.available, reason=native.status)
ops = torch.ops.pypose
NOISE = ImuNoise(gyroscope_noise_density=1e-3, accelerometer_noise_density=1e-2, gyroscope_random_walk=1e-5,
                 accelerometer_random_walk=1e-4, integration_sigma=1e-4)


def samples(n: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(n, 7, generator=generator, dtype=torch.float64)
    values[:, 0] = 0.005 * (1 + 0.2 * torch.rand(n, generator=generator, dtype=torch.float64))
    values[:, 6] += 9.81
    return values.to(dtype)


def fresh(bias: torch.Tensor) -> torch.Tensor:
    row = torch.full((296,), math.nan, dtype=bias.dtype)
    ops.preintegrate_reset_(row, bias)
    return row


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_samples_in_one_call_equal_samples_one_by_one(dtype):
    data, bias, noise = samples(40, dtype), torch.zeros(6, dtype=dtype), NOISE.vector(dtype=dtype)
    together, one_by_one = fresh(bias), fresh(bias)
    ops.preintegrate_(together, data, noise)
    for sample in data:
        ops.preintegrate_(one_by_one, sample, noise)
    assert torch.equal(together, one_by_one)


def test_a_constant_rate_turns_by_rate_times_time():
    row = fresh(torch.zeros(6, dtype=torch.float64))
    rate = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    sample = torch.cat([torch.tensor([0.01], dtype=torch.float64), rate, torch.zeros(3)])
    ops.preintegrate_(row, sample.expand(100, 7).contiguous(), NOISE.vector())
    torch.testing.assert_close(row[1:5], so3.exp(rate), rtol=0, atol=1e-13)
    torch.testing.assert_close(row[0], torch.tensor(1., dtype=torch.float64))


def test_at_rest_the_prediction_stays_where_it_is():
    gravity = torch.tensor([0., 0., -9.81], dtype=torch.float64)
    q = so3.exp(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    bias = torch.tensor([0.01, -0.02, 0.005, 0.1, -0.05, 0.02], dtype=torch.float64)
    specific_force = so3.act(so3.inv(q), -gravity) + bias[3:]
    data = torch.cat([torch.tensor([0.005], dtype=torch.float64), bias[:3], specific_force]).expand(200, 7)
    row = fresh(bias)
    ops.preintegrate_(row, data.contiguous(), NOISE.vector())
    state = torch.cat([torch.tensor([1., 2., 3.]), q, torch.zeros(3), bias])
    torch.testing.assert_close(ops.preintegrated_predict(state, row, gravity), state, rtol=0, atol=1e-12)


def test_the_quaternion_stays_a_unit_over_an_hour_in_float32():
    row = fresh(torch.zeros(6))
    data = samples(1000, torch.float32)
    for _ in range(720):
        ops.preintegrate_(row, data, NOISE.vector(dtype=torch.float32))
    assert abs(row[1:5].double().norm().item() - 1) < 1e-6


def test_bias_jacobian_and_covariance_agree_with_central_differences():
    """J against deltas integrated at another bias; P against the sum over samples of their own noise."""
    data, noise = samples(20), NOISE.vector()
    bias = torch.tensor([0.01, -0.02, 0.005, 0.1, -0.05, 0.02], dtype=torch.float64)
    row = fresh(bias)
    ops.preintegrate_(row, data, noise)

    def error(other):
        """[rotation, velocity, position] of `other` relative to `row`."""
        relative = so3.log(so3.mul(so3.inv(row[1:5]), other[1:5]))
        return torch.cat([relative, other[5:11] - row[5:11]])

    def integrated(data, bias):
        other = fresh(bias)
        ops.preintegrate_(other, data, noise)
        return other

    h, covariance = 1e-5, torch.zeros(9, 9, dtype=torch.float64)
    columns = [(error(integrated(data, bias + h * e)) - error(integrated(data, bias - h * e))) / (2 * h)
               for e in torch.eye(6, dtype=torch.float64)]
    torch.testing.assert_close(row[17:71].view(9, 6), torch.stack(columns, -1), rtol=1e-7, atol=1e-9)

    for k, sample in enumerate(data):
        dt = sample[0]
        for axis in range(6):
            shift = torch.zeros_like(data)
            shift[k, 1 + axis] = h
            column = (error(integrated(data + shift, bias)) - error(integrated(data - shift, bias))) / (2 * h)
            covariance += noise[axis // 3] ** 2 / dt * column[:, None] * column
    # What this sum leaves out: the random walks, and the integration noise.
    only_white = noise * torch.tensor([1., 1., 0., 0., 0.])
    white = fresh(bias)
    ops.preintegrate_(white, data, only_white)
    sigma = covariance.diagonal().sqrt()
    correlation_error = (white[71:].view(15, 15)[:9, :9] - covariance) / (sigma[:, None] * sigma)
    assert correlation_error.abs().max() < 1e-8


@pytest.mark.parametrize('change, message', [
    (dict(row=torch.zeros(295, dtype=torch.float64)), 'row has 295 elements, wanted 296'),
    (dict(samples=torch.zeros(6, dtype=torch.float64)), r'samples must be \(N, 7\)'),
    (dict(samples=torch.zeros(7)), 'samples has dtype'),
    (dict(noise=torch.zeros(4, dtype=torch.float64)), 'noise has 4 elements')])
def test_wrong_shapes_are_refused_by_name(change, message):
    arguments = dict(row=fresh(torch.zeros(6, dtype=torch.float64)), samples=samples(1), noise=NOISE.vector())
    arguments |= change
    with pytest.raises(RuntimeError, match=message):
        ops.preintegrate_(*arguments.values())
