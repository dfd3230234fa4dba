"""The public face of preintegration: shapes, padding, prediction, streaming and batched as one."""
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from pypose_core.inertial import ImuNoise, Preintegrated, Preintegrator, preintegrate
from pypose_core.lie import so3

NOISE = ImuNoise(gyroscope_noise_density=1e-3, accelerometer_noise_density=1e-2, gyroscope_random_walk=1e-5,
                 accelerometer_random_walk=1e-4, integration_sigma=1e-4)
GRAVITY = torch.tensor([0., 0., -9.81], dtype=torch.float64)


def recording(*batch: int, F: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """dt, gyro, accel of one or many sequences."""
    generator = torch.Generator().manual_seed(1)
    dt = 0.005 + 0.001 * torch.rand(*batch, F, generator=generator, dtype=torch.float64)
    gyro, accel = torch.randn(2, *batch, F, 3, generator=generator, dtype=torch.float64).unbind(0)
    return dt, gyro, accel + torch.tensor([0., 0., 9.81], dtype=torch.float64)


def state(*batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    p, v, bias = torch.randn(*batch, 12, generator=generator, dtype=torch.float64).split((3, 3, 6), -1)
    return torch.cat([p, so3.exp(p), v, 0.01 * bias], -1)


def assert_same(a: Preintegrated, b: Preintegrated, atol: float = 1e-13) -> None:
    for x, y in zip((a.row(), a.bias), (b.row(), b.bias)):
        torch.testing.assert_close(x, y, rtol=0, atol=atol)


@pytest.mark.parametrize('batch', [(), (3,), (2, 3)])
def test_a_batch_is_its_sequences_one_by_one(batch):
    dt, gyro, accel = recording(*batch)
    bias = 0.1 * state(*batch)[..., -6:]
    together = preintegrate(dt, gyro, accel, noise=NOISE, bias=bias, path=True)
    assert together.covariance.shape == (*batch, 15, 15) and together.path.shape == (*batch, 12, 10)
    for index in torch.cartesian_prod(*map(torch.arange, batch)).reshape(-1, len(batch)) if batch else [()]:
        i = tuple(int(k) for k in index)
        alone = preintegrate(dt[i], gyro[i], accel[i], noise=NOISE, bias=bias[i])
        torch.testing.assert_close(together.row()[i], alone.row(), rtol=0, atol=1e-14)


def test_one_dt_one_bias_and_one_noise_serve_all_sequences():
    _, gyro, accel = recording(4)
    dt, bias = torch.tensor(0.005, dtype=torch.float64), torch.full((6,), 0.01, dtype=torch.float64)
    spread = preintegrate(dt.expand(4, 12), gyro, accel, noise=NOISE.covariance().expand(4, 12, 5, 3, 3),
                          bias=bias.expand(4, 6), covariance=torch.zeros(4, 15, 15, dtype=torch.float64))
    assert_same(preintegrate(dt, gyro, accel, noise=NOISE, bias=bias), spread)


def test_the_path_ends_in_the_result_and_passes_through_the_shorter_ones():
    dt, gyro, accel = recording()
    result = preintegrate(dt, gyro, accel, path=True)
    assert result.covariance is None
    for k in (1, 5, 12):
        part = preintegrate(dt[:k], gyro[:k], accel[:k])
        delta = torch.cat([part.delta_rotation, part.delta_velocity, part.delta_position])
        torch.testing.assert_close(result.path[k - 1], delta, rtol=0, atol=1e-14)


def test_samples_of_no_duration_change_nothing():
    dt, gyro, accel = recording()
    padded = torch.cat([dt, torch.zeros(3)]), torch.cat([gyro, gyro[:3]]), torch.cat([accel, accel[:3]])
    assert_same(preintegrate(*padded, noise=NOISE), preintegrate(dt, gyro, accel, noise=NOISE), atol=1e-15)


def test_two_halves_predict_what_the_whole_predicts():
    dt, gyro, accel = recording()
    start = state()
    bias = start[10:]
    whole = preintegrate(dt, gyro, accel, bias=bias).predict(start, GRAVITY)
    middle = preintegrate(dt[:5], gyro[:5], accel[:5], bias=bias).predict(start, GRAVITY)
    end = preintegrate(dt[5:], gyro[5:], accel[5:], bias=bias).predict(middle, GRAVITY)
    torch.testing.assert_close(end, whole, rtol=0, atol=1e-13)


def test_the_covariance_at_the_start_grows_as_in_one_go():
    """The second half's deltas are in the frame of its own start, so the covariance is turned there."""
    dt, gyro, accel = recording()
    whole = preintegrate(dt, gyro, accel, noise=NOISE)
    first = preintegrate(dt[:5], gyro[:5], accel[:5], noise=NOISE)
    R = so3.matrix(first.delta_rotation)
    eye = torch.eye(3, dtype=torch.float64)
    turn = torch.block_diag(eye, R.mT, R.mT, eye, eye)
    turned = turn @ first.covariance @ turn.mT
    second = preintegrate(dt[5:], gyro[5:], accel[5:], noise=NOISE, covariance=turned)
    torch.testing.assert_close(turn.mT @ second.covariance @ turn, whole.covariance, rtol=1e-12, atol=1e-20)


def test_first_order_correction_leaves_an_error_of_second_order():
    dt, gyro, accel = recording(F=100)
    at_zero = preintegrate(dt, gyro, accel)
    errors = []
    for size in (1e-2, 1e-3):
        bias = size * torch.tensor([1., -1., 1., 2., 1., -1.], dtype=torch.float64)
        exact = preintegrate(dt, gyro, accel, bias=bias)
        rotation, velocity, position = at_zero.corrected(bias)
        errors.append(torch.cat([rotation - exact.delta_rotation, velocity - exact.delta_velocity,
                                 position - exact.delta_position]).norm())
    assert errors[1] < errors[0] / 90


def test_samples_one_by_one_equal_the_batch():
    dt, gyro, accel = recording(F=30)
    start = state()
    stream = Preintegrator(NOISE, bias=start[10:] + 0.01)
    for sample in zip(dt.tolist(), gyro.numpy(), accel.numpy()):
        stream.add(*sample)
    result = preintegrate(dt, gyro, accel, noise=NOISE, bias=start[10:] + 0.01)
    assert stream.count == 30
    assert_same(stream.result, result)
    torch.testing.assert_close(stream.predict(start, GRAVITY), result.predict(start, GRAVITY))
    kept = stream.result
    stream.reset()
    assert stream.count == 0 and kept.dt > 0 and stream.result.dt == 0
    torch.testing.assert_close(stream.result.bias, start[10:] + 0.01)
    torch.testing.assert_close(stream.predict(start, GRAVITY), start, rtol=0, atol=1e-15)


def test_rows_are_packed_and_unpacked_without_loss():
    result = preintegrate(*recording(2), noise=NOISE)
    assert torch.equal(Preintegrated.from_row(result.row()).row(), result.row())
    with pytest.raises(ValueError, match='covariance'):
        preintegrate(*recording(2)).row()


def test_without_native_kernels_the_answers_are_the_same():
    code = f"""
import sys, torch
sys.path.insert(0, {os.path.dirname(__file__)!r})
from pypose_core import native
from test_inertial_preintegrate import *
assert not native.available
test_samples_one_by_one_equal_the_batch()
test_one_dt_one_bias_and_one_noise_serve_all_sequences()
print(preintegrate(*recording(), noise=NOISE).row().sum().item())
"""
    environment = os.environ | {'PYPOSE_NATIVE': '0'}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = preintegrate(*recording(), noise=NOISE).row().sum().item()
    assert float(done.stdout) == pytest.approx(expected, rel=1e-13)


def test_learned_noise_and_measurements_receive_gradients():
    """A network that corrects the samples and states its own uncertainty, one covariance for each sample."""
    dt, gyro, accel = recording(2)
    correction = torch.zeros(2, 12, 6, dtype=torch.float64, requires_grad=True)
    log_density = torch.zeros(2, 12, 5, dtype=torch.float64, requires_grad=True)
    noise = NOISE.covariance() * log_density.exp()[..., None, None]
    result = preintegrate(dt, gyro + correction[..., :3], accel + correction[..., 3:], noise=noise)
    information = torch.linalg.inv(result.covariance[..., :9, :9])
    residual = torch.cat([so3.log(result.delta_rotation), result.delta_velocity, result.delta_position], -1)
    mahalanobis = residual[..., None, :] @ information @ residual[..., None]
    (mahalanobis.sum() - torch.logdet(information).sum()).backward()
    assert correction.grad.abs().min() > 0
    assert log_density.grad[..., [0, 1]].abs().min() > 0


@pytest.mark.parametrize('change, message', [
    (dict(gyro=torch.zeros(12, 4)), 'gyro and accel'), (dict(covariance=torch.zeros(15, 15)), 'pass noise')])
def test_mistakes_are_named(change, message):
    arguments = dict(zip(('dt', 'gyro', 'accel'), recording())) | change
    with pytest.raises(ValueError, match=message):
        preintegrate(**arguments)
