"""The invariant Kalman filter of an inertial measurement unit, on SE_2(3)."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.filter.kalman import correct, squared
from pypose_core.inertial.noise import ImuNoise
from pypose_core.lie import se23, so3
from pypose_core.lie.groups import SE23
from pypose_core.lie.stumpff import stumpff


class InvariantImuFilter:
    """Attitude, velocity, position and IMU biases, with the left-invariant error.

    State: T = (R, p, v) on SE_2(3), pose and velocity of the IMU in the world (z up), stored as `pp.SE23`
    [p, q, v], and the biases b = [gyroscope, accelerometer]. Error of dimension 15: T = T̂ Exp(ξ), ξ = [ρ, φ, ν] of the
    body, then b - b̂. Its dynamics,

        ρ̇ = ν - ω × ρ,  φ̇ = -ω × φ - δb_g - n_g,  ν̇ = -ω × ν - a × φ - δb_a - n_a,

    depend on the measured ω and a alone and not on the estimate, so that the covariance is right however wrong the
    estimate is, and measurements in the world frame (position, velocity, pose) are linear in ξ.

    Args:
        state: the first `SE23` (..., 10).
        P: covariance of the error (..., 15, 15).
        noise: `ImuNoise`.
        bias: (..., 6); default zero.
        gravity: m/s², acting along -z of the world.

    Source: Barrau and Bonnabel, The invariant extended Kalman filter as a stable observer, 2017; Hartley et al.,
    Contact-aided invariant extended Kalman filtering for robot state estimation, 2020.
    """

    def __init__(self, state: SE23, P: Tensor, noise: ImuNoise, *, bias: Tensor | None = None,
                 gravity: float = 9.80665):
        if P.shape[-2:] != (15, 15):
            raise ValueError(f'the covariance must be (..., 15, 15), got {tuple(P.shape)}')
        self.state, self.P = state, P
        self.bias = state.tensor().new_zeros(*state.lshape, 6) if bias is None else bias
        self.gravity = torch.tensor([0.0, 0.0, -gravity], dtype=state.dtype, device=state.device)
        density = noise.vector(dtype=state.dtype).to(state.device).square()
        gyro, accel, gyro_walk, accel_walk, position = density
        # In the order of the error: [ρ, φ, ν, b_g, b_a].
        self._density = torch.stack([position, gyro, accel, gyro_walk, accel_walk]).repeat_interleave(3)

    def predict(self, gyroscope: Tensor, accelerometer: Tensor, dt: float) -> None:
        """Move on by dt seconds with the angular rate (..., 3) in rad/s and specific force (..., 3) in m/s² held."""
        w, a = gyroscope - self.bias[..., :3], accelerometer - self.bias[..., 3:]
        self.P = self._moved_covariance(w, a, dt)
        p, q, v = self.state.tensor().split((3, 4, 3), -1)
        phi, g = w * dt, self.gravity
        c = stumpff((phi * phi).sum(-1, keepdim=True), 4)
        cross = so3.cross(phi, a)
        again = so3.cross(phi, cross)
        # ∫ Exp(ω s) a ds and its integral, in closed form.
        velocity = dt * (a + c[2] * cross + c[3] * again)
        position = dt * dt * (a / 2 + c[3] * cross + c[4] * again)
        turned = so3.mul(q, so3.exp(phi))
        self.state = SE23(torch.cat([
            p + v * dt + g * (dt * dt / 2) + so3.act(q, position),
            turned / turned.norm(dim=-1, keepdim=True),
            v + g * dt + so3.act(q, velocity)], -1))

    def _moved_covariance(self, w: Tensor, a: Tensor, dt: float) -> Tensor:
        """Φ P Φᵀ + ∫ Φ D Φᵀ, Φ the exponential of the error's dynamics, the integral by the trapezoid rule."""
        lead = torch.broadcast_shapes(w.shape[:-1], a.shape[:-1], self.P.shape[:-2])
        A = self.P.new_zeros(*lead, 15, 15)
        turn, eye = -so3.hat(w), torch.eye(3, dtype=A.dtype, device=A.device)
        for i in (0, 3, 6):
            A[..., i:i + 3, i:i + 3] = turn
        A[..., 0:3, 6:9] = eye
        A[..., 6:9, 3:6] = -so3.hat(a)
        A[..., 3:6, 9:12] = A[..., 6:9, 12:15] = -eye
        A, eye = A * dt, torch.eye(15, dtype=A.dtype, device=A.device)
        Phi = eye + A / 6
        for order in (5, 4, 3, 2, 1):   # the exponential's series; at IMU rates |A dt| is far below 1
            Phi = eye + A @ Phi / order
        D = torch.diag(self._density)
        P = Phi @ (self.P + D * (dt / 2)) @ Phi.mT + D * (dt / 2)
        return (P + P.mT) / 2

    def update_position(self, position: Tensor, R: Tensor) -> Tensor:
        """Take in a position (..., 3) in the world with covariance R (..., 3, 3); returns the squared innovation."""
        return self._update(slice(0, 3), position - self.state.tensor()[..., :3], R)

    def update_velocity(self, velocity: Tensor, R: Tensor) -> Tensor:
        """Take in a velocity (..., 3) in the world with covariance R (..., 3, 3); returns the squared innovation."""
        return self._update(slice(6, 9), velocity - self.state.tensor()[..., 7:], R)

    def _update(self, part: slice, difference: Tensor, R: Tensor) -> Tensor:
        """y - ŷ = R̂ ξ_part to first order: turned into the body, the innovation is linear in the error."""
        q = so3.inv(self.state.tensor()[..., 3:7])
        turn = so3.matrix(q)
        return self._correct(part, so3.act(q, difference), turn @ R @ turn.mT)

    def update_pose(self, pose: Tensor, R: Tensor) -> Tensor:
        """Take in a pose T_world_imu (..., 7) with covariance R (..., 6, 6) of Log(T̂⁻¹ T) = [ρ, φ]."""
        now = self.state.tensor()
        q = so3.inv(now[..., 3:7])
        difference = torch.cat([so3.act(q, pose[..., :3] - now[..., :3]), so3.mul(q, pose[..., 3:7]),
                                torch.zeros_like(now[..., 7:])], -1)
        return self._correct(slice(0, 6), se23.log(difference)[..., :6], R)

    def _correct(self, part: slice, innovation: Tensor, R: Tensor) -> Tensor:
        H = torch.eye(15, dtype=self.P.dtype, device=self.P.device)[part]
        S = H @ self.P @ H.mT + R
        zero = self.P.new_zeros(*self.state.lshape, 15)
        delta, self.P, _ = correct(zero, self.P, H, R, innovation)
        self.state = SE23(se23.mul(self.state.tensor(), se23.exp(delta[..., :9])))
        self.bias = self.bias + delta[..., 9:]
        return squared(innovation, S)

    def error(self, state: SE23, bias: Tensor) -> Tensor:
        """The error (..., 15) of the truth from the estimate, in the order of P."""
        return torch.cat([(self.state.Inv() @ state).Log().tensor(), bias - self.bias], -1)
