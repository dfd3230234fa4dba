"""Preintegration as plain batched torch: the definition, differentiable to any order on any device.

The equations are those of csrc/inertial/preintegration.h: a measurement is held over its interval dt,
with the attitude of the interval's start; the error is [rotation, velocity, position, gyroscope bias,
accelerometer bias], true minus estimate, rotation on the right.

Source: Forster, Carlone, Dellaert, Scaramuzza, "On-Manifold Preintegration for Real-Time
Visual-Inertial Odometry", TRO 2017, equations (35) to (44), (59) to (63).
"""
import torch
from torch import Tensor

from pypose_core.lie import so3


def _attitudes(increments: Tensor) -> Tensor:
    """q_0 = 1, q_{k+1} = q_k Exp(w_k dt_k), a Newton step of normalization; (B, F, 4) -> (B, F + 1, 4)."""
    q = torch.zeros_like(increments[:, 0]) + increments.new_tensor([0., 0., 0., 1.])
    attitudes = [q]
    for increment in increments.unbind(1):
        u = so3.mul(q, increment)
        q = u * (1.5 - 0.5 * (u * u).sum(-1, keepdim=True))
        attitudes.append(q)
    return torch.stack(attitudes, 1)


def _transitions(E: Tensor, jr_dt: Tensor, A: Tensor, R_dt: Tensor, dt: Tensor) -> Tensor:
    """F of the covariance, (B, 15, 15), from blocks (B, 3, 3) and dt (B,)."""
    o = torch.zeros_like(E)
    eye = o + torch.eye(3, dtype=E.dtype, device=E.device)
    h = dt[:, None, None]
    return torch.cat([
        torch.cat([E, o, o, -jr_dt, o], -1),
        torch.cat([A, eye, o, o, -R_dt], -1),
        torch.cat([A * h / 2, eye * h, eye, o, -R_dt * h / 2], -1),
        torch.cat([o, o, o, eye, o], -1),
        torch.cat([o, o, o, o, eye], -1)], -2)


def _noises(jr: Tensor, R: Tensor, dt: Tensor, noise: Tensor) -> Tensor:
    """Q of one step, (B, 15, 15), from the densities' blocks (B, 5, 3, 3)."""
    h = dt[:, None, None]
    gyro, accel, gyro_walk, accel_walk, integration = noise.unbind(-3)
    rotation = jr @ gyro @ jr.mT * h
    velocity = R @ accel @ R.mT * h
    o = torch.zeros_like(rotation)
    return torch.cat([
        torch.cat([rotation, o, o, o, o], -1),
        torch.cat([o, velocity, velocity * h / 2, o, o], -1),
        torch.cat([o, velocity * h / 2, velocity * h * h / 4 + integration * h, o, o], -1),
        torch.cat([o, o, o, gyro_walk * h, o], -1),
        torch.cat([o, o, o, o, accel_walk * h], -1)], -2)


def preintegrate_reference(samples: Tensor, bias: Tensor, noise: Tensor, covariance: Tensor | None,
                           every: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Preintegrate B sequences of F samples.

    Args:
        samples: (B, F, 7) dt s, angular rate rad/s, specific force m/s². A sample with dt = 0 changes
            nothing: that is how sequences of different lengths share a batch.
        bias: (B, 6) gyroscope, accelerometer bias at which to integrate.
        noise: (B or 1, F or 1, 5, 3, 3) densities in the order of ImuNoise's fields; not read without
            covariance.
        covariance: (B, 15, 15) symmetric covariance at the start, or None to propagate none.
        every: return the deltas after every sample rather than after the last.

    Returns:
        delta (B, F or 1, 10) [q, v, p]; bias Jacobian (B, 9, 6) d(rotation, velocity, position)/d(bg, ba);
        covariance (B, 15, 15), or (B, 0, 0) without.
    """
    dt, gyro, accel = samples.split((1, 3, 3), -1)
    gyro, accel = gyro - bias[:, None, :3], accel - bias[:, None, 3:]
    increments = so3.exp(gyro * dt)
    q = _attitudes(increments)
    R = so3.matrix(q[:, :-1])
    dv = (R @ accel[..., None])[..., 0] * dt
    v = dv.cumsum(1)
    p = ((v - dv / 2) * dt).cumsum(1)
    delta = torch.cat([q[:, 1:], v, p], -1)
    if not every:
        delta = delta[:, -1:]

    E = so3.matrix(increments).mT
    jr = so3.jr(gyro * dt)
    jr_dt, R_dt = jr * dt[..., None], R * dt[..., None]
    A = -R_dt @ so3.hat(accel)
    B, F = samples.shape[:2]
    psd = noise.expand(B, F, 5, 3, 3)
    J = torch.zeros_like(R[:, 0]).repeat(1, 3, 2)
    P = covariance
    for k in range(F):
        transition = _transitions(E[:, k], jr_dt[:, k], A[:, k], R_dt[:, k], dt[:, k, 0])
        J = transition[:, :9, :9] @ J + transition[:, :9, 9:]
        if P is not None:
            P = transition @ P @ transition.mT + _noises(jr[:, k], R[:, k], dt[:, k, 0], psd[:, k])
    return delta, J, samples.new_zeros(B, 0, 0) if P is None else P
