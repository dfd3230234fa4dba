"""IMU preintegration, batched and streaming.

Batched against PyPose 0.9.5's IMUPreintegrator. Its own numbers are wrong where it turns (see
docs/differences_from_pypose.md), so agreement is checked at gravity 0, where its motion is right, on the
states alone. Streaming against GTSAM's Python preintegration, which computes the same to rounding.
"""
from collections.abc import Iterator
from dataclasses import replace

import gtsam
import numpy as np
import pypose
import torch
from harness import Record, compare, main

from pypose_core.inertial import ImuNoise, Preintegrator, preintegrate

NOISE = ImuNoise(gyroscope_noise_density=1e-3, accelerometer_noise_density=1e-2, gyroscope_random_walk=1e-5,
                 accelerometer_random_walk=1e-4)


def sequences(B: int, F: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """dt (B, F), gyro and accel (B, F, 3) of a tumbling body."""
    generator = torch.Generator().manual_seed(0)
    gyro = 0.5 * torch.randn(B, F, 3, generator=generator, dtype=dtype)
    accel = torch.randn(B, F, 3, generator=generator, dtype=dtype)
    return torch.full((B, F), 0.005, dtype=dtype), gyro, accel


def batched(B: int, F: int, *, gradient: bool, covariance: bool, rounds: int) -> Record:
    """The states after every sample, the last covariance, and the gradient of both.

    PyPose's covariance is a constant for the measurements (it detaches them): it has a gradient by the noise
    alone. Ours is differentiated by everything.
    """
    dt, gyro, accel = sequences(B, F, torch.float32)
    gyro_psd = torch.full((1, 1, 3), NOISE.gyroscope_noise_density ** 2)
    accel_psd = torch.full((1, 1, 3), NOISE.accelerometer_noise_density ** 2)
    inputs = [gyro, accel] + ([gyro_psd, accel_psd] if covariance else [])
    for x in inputs:
        x.requires_grad_(gradient)
    peer = pypose.module.IMUPreintegrator(gravity=0., prop_cov=covariance, reset=True)

    def theirs():
        result = peer(dt[..., None], gyro, accel, gyro_cov=gyro_psd, acc_cov=accel_psd)
        return finish(result['rot'].tensor(), result['vel'], result['pos'], result['cov'])

    def ours():
        noise = None
        if covariance:
            zero = torch.zeros_like(gyro_psd)
            noise = torch.diag_embed(torch.stack([gyro_psd, accel_psd, zero, zero, zero], -2))
        result = preintegrate(dt, gyro, accel, noise=noise, path=True)
        return finish(*result.path.split((4, 3, 3), -1), result.covariance)

    def finish(rotation, velocity, position, P):
        if gradient:
            loss = velocity.sum() + position.sum() + (P[..., :9, :9].sum() if covariance else 0)
            torch.autograd.grad(loss, inputs)
        return torch.cat([rotation, velocity, position], -1).detach()

    def agree(a, b):
        return bool((a - b).abs().max() < 1e-3 * b.abs().max())

    what = 'forward+backward' if gradient else 'forward'
    return compare(f'{B} x {F} samples, {what}, {"with" if covariance else "without"} covariance, float32',
                   peer='pypose 0.9.5', ours=ours, theirs=theirs, agree=agree, rounds=rounds,
                   target=20 if covariance else None, note='states agree to 1e-3 of the largest')


def streaming(count: int, rounds: int) -> Record:
    """One sample from Python, covariance and bias Jacobian included."""
    params = gtsam.PreintegrationCombinedParams.MakeSharedU(9.81)
    eye = np.eye(3)
    params.setGyroscopeCovariance(NOISE.gyroscope_noise_density ** 2 * eye)
    params.setAccelerometerCovariance(NOISE.accelerometer_noise_density ** 2 * eye)
    params.setBiasOmegaCovariance(NOISE.gyroscope_random_walk ** 2 * eye)
    params.setBiasAccCovariance(NOISE.accelerometer_random_walk ** 2 * eye)
    params.setIntegrationCovariance(0 * eye)
    peer = gtsam.PreintegratedCombinedMeasurementsManifold(params)
    stream = Preintegrator(NOISE)
    _, gyro, accel = (x[0].numpy() for x in sequences(1, count, torch.float64))

    def theirs():
        peer.resetIntegration()
        for w, a in zip(gyro, accel):
            peer.integrateMeasurement(a, w, 0.005)
        return np.concatenate([peer.deltaVij(), peer.deltaPij(), [peer.preintMeasCov()[0, 0]]])

    def ours():
        stream.reset()
        for w, a in zip(gyro, accel):
            stream.add(0.005, w, a)
        row = stream.row.numpy()
        return np.concatenate([row[5:11], row[71:72]])

    record = compare(f'{count} samples one by one from Python, 15x15 covariance', peer='gtsam 4.3.0',
                     ours=ours, theirs=theirs, rounds=rounds,
                     agree=lambda a, b: np.allclose(a, b, rtol=1e-9, atol=1e-12))
    a_sample = ' and '.join(f'{s / count * 1e6:.2f} us' for s in (record.ours_s, record.peer_s))
    return replace(record, note=f'deltas and covariance agree to 1e-9; a sample takes {a_sample}')


def records(quick: bool) -> Iterator[Record]:
    B, F, rounds = (16, 200, 3) if quick else (128, 2000, 3)
    for covariance in (True, False):
        for gradient in (False, True):
            yield batched(B, F, gradient=gradient, covariance=covariance, rounds=rounds)
    yield streaming(200 if quick else 2000, 5)


if __name__ == '__main__':
    main(records, __doc__)
