"""Preintegration of whole sequences, batched and differentiable."""
from typing import Any

import torch
from torch import Tensor

from .noise import ImuNoise
from .operators import preintegrate_sequences
from .preintegrated import Preintegrated


def preintegrate(dt: Tensor, gyro: Tensor, accel: Tensor, *, noise: ImuNoise | Tensor | None = None,
                 bias: Tensor | None = None, covariance: Tensor | None = None,
                 path: bool = False) -> Preintegrated:
    """Preintegrate sequences of IMU samples.

    A sample is held constant over its interval dt, which it begins: with samples s_k at times t_k, dt_k =
    t_{k+1} - t_k. (For the trapezoid rule pass (s_k + s_{k+1}) / 2.) With w, a the sample less the bias:
        p += v dt + R a dt²/2,   v += R a dt,   R *= Exp(w dt)

    Differentiable in every tensor. Covariances are P <- F P Fᵀ + Q; see Preintegrated for their order.

    Args:
        dt: (..., F) or () s. A sample with dt = 0 changes nothing, which pads sequences to one length.
        gyro: (..., F, 3) angular rate in the IMU's frame, rad/s.
        accel: (..., F, 3) specific force in the IMU's frame, m/s²: at rest it points up.
        noise: standard deviations, or densities (5, 3, 3) or (..., F or 1, 5, 3, 3) in the order of
            ImuNoise's fields, symmetric; None propagates no covariance.
        bias: (..., 6) gyroscope and accelerometer bias at which to integrate; zero by default.
        covariance: (..., 15, 15) at the start; zero by default.
        path: whether to keep the deltas after each sample.

    Source: Forster et al., "On-Manifold Preintegration for Real-Time Visual-Inertial Odometry", TRO 2017.
    """
    if gyro.shape[-1:] != (3,) or accel.shape[-1:] != (3,) or gyro.dim() < 2 or accel.dim() < 2:
        raise ValueError(f'gyro and accel are (..., F, 3); got {tuple(gyro.shape)} and {tuple(accel.shape)}')
    if covariance is not None and noise is None:
        raise ValueError('a covariance at the start is propagated with noise only: pass noise')
    like: dict[str, Any] = dict(dtype=gyro.dtype, device=gyro.device)
    zero = torch.zeros(6, **like) if bias is None else bias
    *batch, F = torch.broadcast_shapes(dt.shape, gyro.shape[:-1], accel.shape[:-1], (*zero.shape[:-1], 1))
    if covariance is not None:
        batch = list(torch.broadcast_shapes(tuple(batch), covariance.shape[:-2]))
    samples = torch.cat([x.expand(*batch, F, -1) for x in (dt[..., None], gyro, accel)], -1)

    start, psd = None, torch.zeros(1, 1, 5, 3, 3, **like)
    if noise is not None:
        psd = noise.covariance(**like) if isinstance(noise, ImuNoise) else noise
        start = torch.zeros(15, 15, **like) if covariance is None else covariance
        start = start.expand(*batch, 15, 15).reshape(-1, 15, 15)
        psd = psd[None] if psd.dim() == 3 else psd
        if psd.shape[:-4].numel() > 1:
            psd = psd.expand(*batch, -1, 5, 3, 3)
        psd = psd.reshape(-1, *psd.shape[-4:])

    flat_bias = zero.expand(*batch, 6).reshape(-1, 6)
    delta, jacobian, final = preintegrate_sequences(samples.reshape(-1, F, 7), flat_bias, psd, start, path)
    delta = delta.reshape(*batch, -1, 10)
    rotation, velocity, position = delta[..., -1, :].split((4, 3, 3), -1)
    return Preintegrated(
        samples[..., 0].sum(-1), rotation, velocity, position, zero.expand(*batch, 6),
        jacobian.reshape(*batch, 9, 6), None if noise is None else final.reshape(*batch, 15, 15),
        delta if path else None)
