"""What csrc/online/propagation.h computes, written as the equations; active where native code is missing.

All functions work in place on the float64 blocks of `packed`, as the native operators of the same names.
"""
import torch
from torch import Tensor

from pypose_core.lie import so3
from pypose_core.online.packed import BIAS, COVARIANCE, JACOBIAN, Workspace

FINE, SAMPLE_NOT_FINITE, STATE_NOT_FINITE, TOO_FAST = range(4)


def integrate_(row: Tensor, pieces: Tensor, noise: Tensor) -> None:
    """Start `row` (296,) again at the bias it carries and integrate pieces (N, 7) [dt, gyroscope, accelerometer],
    or (N, 13) with the squared noise density of each axis."""
    bias = row[BIAS].clone()
    row.zero_()
    row[4] = 1.0
    row[BIAS] = bias
    for piece in pieces:
        psd = piece[7:] if len(piece) == 13 else noise[:2].repeat_interleave(3)**2
        _interval_(row, piece[0], piece[1:7], psd, noise)


def advance_(block: Tensor, sample: Tensor, dt: float) -> int:
    """Integrate the interval of dt that ends at `sample` (12,), with its noise densities, and renew the output."""
    if not torch.isfinite(sample).all():
        return SAMPLE_NOT_FINITE
    if dt > 0:
        mean = 0.5 * (block[Workspace.SAMPLE] + sample[:6])
        psd = 0.5 * (block[Workspace.DENSITY]**2 + sample[6:]**2)
        _interval_(block[Workspace.ROW], torch.as_tensor(dt, dtype=block.dtype), mean, psd, block[Workspace.NOISE])
    block[Workspace.SAMPLE], block[Workspace.DENSITY] = sample[:6], sample[6:]
    output_(block, dt)
    if not torch.isfinite(block[Workspace.STATE.start:Workspace.MAX_VELOCITY]).all():
        return STATE_NOT_FINITE
    speed = block[Workspace.STATE][7:10].norm()
    return TOO_FAST if speed > block[Workspace.MAX_VELOCITY] else FINE


def _interval_(row: Tensor, dt: Tensor, mean: Tensor, psd: Tensor, noise: Tensor) -> None:
    """One interval with its mean measurement (6,) and squared noise densities (6,), the attitude taken in its middle.

    Forster et al., TRO 2017, eq. (35) to (44) and (59) to (63), with the specific force turned by half
    the interval's rotation. A gap longer than noise[5] adds what the signal may have done unseen.
    """
    if dt > noise[5]:
        psd = psd + noise[6:8].repeat_interleave(3)**2 * dt
    rate, force = mean[:3] - row[BIAS][:3], mean[3:] - row[BIAS][3:]
    force = so3.act(so3.exp(0.5 * dt * rate), force)
    rotation, velocity, position = row[1:5].clone(), row[5:8].clone(), row[8:11].clone()
    R, turn = so3.matrix(rotation), so3.exp(dt * rate)

    eye = torch.eye(15, dtype=row.dtype)
    F = eye.clone()
    F[:3, :3] = so3.matrix(turn).T
    F[:3, 9:12] = -so3.jr(dt * rate) * dt
    F[3:6, :3] = -R @ so3.hat(force) * dt
    F[3:6, 12:] = -R * dt
    F[6:9] = eye[6:9] + dt * eye[3:6] + 0.5 * dt * (F[3:6] - eye[3:6])
    to_error = -F[:, 9:].clone()                  # a measurement's error acts as minus a bias
    to_error[9:] = 0.0
    walk = torch.zeros(15, dtype=row.dtype)
    walk[6:9], walk[9:12], walk[12:] = noise[4]**2 * dt, noise[2]**2 * dt, noise[3]**2 * dt
    covariance = row[COVARIANCE].reshape(15, 15)
    covariance = F @ covariance @ F.T + to_error @ torch.diag(psd / dt) @ to_error.T + torch.diag(walk)
    jacobian = F[:9, :9] @ row[JACOBIAN].reshape(9, 6) + F[:9, 9:]

    row[0] += dt
    row[1:5] = torch.nn.functional.normalize(so3.mul(rotation, turn), dim=0)
    row[5:8] = velocity + R @ force * dt
    row[8:11] = position + velocity * dt + 0.5 * R @ force * dt**2
    row[JACOBIAN] = jacobian.reshape(-1)
    row[COVARIANCE] = covariance.reshape(-1)


def output_(block: Tensor, dt: float) -> None:
    """Renew state, pose, twist and covariances from anchor and row; dt is the newest sample's interval."""
    anchor, row, out = block[Workspace.ANCHOR], block[Workspace.ROW], block
    time, g = row[0], torch.tensor([0.0, 0.0, -float(block[Workspace.GRAVITY])], dtype=block.dtype)
    J = row[JACOBIAN].reshape(9, 6)
    correction = J @ (anchor[10:] - row[BIAS])
    turn = so3.mul(row[1:5], so3.exp(correction[:3]))
    dv, dp = row[5:8] + correction[3:6], row[8:11] + correction[6:9]
    R = so3.matrix(anchor[3:7])
    q = torch.nn.functional.normalize(so3.mul(anchor[3:7], turn), dim=0)
    velocity = anchor[7:10] + g * time + R @ dv
    position = anchor[:3] + anchor[7:10] * time + 0.5 * g * time**2 + R @ dp
    out[Workspace.STATE] = torch.cat([position, q, velocity, anchor[10:]])

    F = torch.eye(15, dtype=block.dtype)
    F[:3, :3] = so3.matrix(turn).T
    F[3:6, :3] = -R @ so3.hat(dv)
    F[6:9, :3] = -R @ so3.hat(dp)
    F[6:9, 3:6] = time * torch.eye(3, dtype=block.dtype)
    G = torch.block_diag(torch.eye(3, dtype=block.dtype), R, R, torch.eye(6, dtype=block.dtype))
    F[:9, 9:] = G[:9, :9] @ J
    covariance = (F @ block[Workspace.ANCHOR_COVARIANCE].reshape(15, 15) @ F.T
                  + G @ row[COVARIANCE].reshape(15, 15) @ G.T)
    out[Workspace.COVARIANCE] = covariance.reshape(-1)

    lever, q_imu_base = block[Workspace.EXTRINSIC][:3], block[Workspace.EXTRINSIC][3:]
    R, R_base_imu = so3.matrix(q), so3.matrix(q_imu_base).T
    rate = block[Workspace.SAMPLE][:3] - anchor[10:13]
    body_velocity = R.T @ velocity
    out[Workspace.POSE] = torch.cat([position + R @ lever, so3.mul(q, q_imu_base)])
    out[Workspace.LINEAR] = R_base_imu @ (body_velocity + torch.linalg.cross(rate, lever))
    out[Workspace.ANGULAR] = R_base_imu @ rate

    to_pose = torch.zeros(6, 15, dtype=block.dtype)
    to_pose[:3, :3] = -R @ so3.hat(lever)
    to_pose[:3, 6:9] = torch.eye(3, dtype=block.dtype)
    to_pose[3:, :3] = R                           # rotation about the fixed axes of odom
    out[Workspace.POSE_COVARIANCE] = (to_pose @ covariance @ to_pose.T).reshape(-1)
    to_twist = torch.zeros(6, 15, dtype=block.dtype)
    to_twist[:3, :3] = R_base_imu @ so3.hat(body_velocity)
    to_twist[:3, 3:6] = R_base_imu @ R.T
    to_twist[:3, 9:12] = R_base_imu @ so3.hat(lever)
    to_twist[3:, 9:12] = -R_base_imu
    white = torch.diag(block[Workspace.DENSITY][:3]**2) / dt if dt > 0 else torch.zeros(3, 3, dtype=block.dtype)
    twist = to_twist @ covariance @ to_twist.T + to_twist[:, 9:12] @ white @ to_twist[:, 9:12].T
    out[Workspace.TWIST_COVARIANCE] = twist.reshape(-1)
