"""The result of preintegration, and prediction with it."""
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.lie import so3

#: Slices of the packed row of 296 numbers that the native kernels work on.
ROW = {'dt': slice(0, 1), 'rotation': slice(1, 5), 'velocity': slice(5, 8), 'position': slice(8, 11),
       'bias': slice(11, 17), 'jacobian': slice(17, 71), 'covariance': slice(71, 296)}


@dataclass(frozen=True)
class Preintegrated:
    """IMU samples from time i to time j as one relative motion, in the IMU's frame at i, without gravity.

    With attitude R, velocity v and position p in the world and g gravity there:
        R_j = R_i ΔR,   v_j = v_i + g t + R_i Δv,   p_j = p_i + v_i t + g t²/2 + R_i Δp

    Errors, of the covariance and on the left of the Jacobian, are true minus estimate in the order rotation
    (on the right: R_true = R Exp(δ)), velocity, position (additive, frame of i), gyroscope bias,
    accelerometer bias. GTSAM's tangent space is [rotation, ΔRᵀ position, ΔRᵀ velocity] with its bias
    errors negated, accelerometer first.
    """

    dt: Tensor
    """(...) time from i to j, s"""
    delta_rotation: Tensor
    """(..., 4) ΔR as a quaternion"""
    delta_velocity: Tensor
    """(..., 3) Δv, m/s"""
    delta_position: Tensor
    """(..., 3) Δp, m"""
    bias: Tensor
    """(..., 6) gyroscope and accelerometer bias at which the samples were integrated, rad/s, m/s²"""
    bias_jacobian: Tensor
    """(..., 9, 6) derivative of rotation, velocity, position by that bias"""
    covariance: Tensor | None
    """(..., 15, 15), or None where it was not propagated"""
    path: Tensor | None = None
    """(..., F, 10) ΔR, Δv, Δp after each sample, where that was asked for"""

    @staticmethod
    def from_row(row: Tensor) -> 'Preintegrated':
        """From packed rows (..., 296)."""
        part = {name: row[..., span] for name, span in ROW.items()}
        return Preintegrated(part['dt'][..., 0], part['rotation'], part['velocity'], part['position'],
                             part['bias'], part['jacobian'].unflatten(-1, (9, 6)),
                             part['covariance'].unflatten(-1, (15, 15)))

    def row(self) -> Tensor:
        """Packed as (..., 296); the covariance must be there."""
        if self.covariance is None:
            raise ValueError('the packed row has a covariance; preintegrate with propagate_covariance=True')
        return torch.cat([self.dt[..., None], self.delta_rotation, self.delta_velocity, self.delta_position,
                          self.bias, self.bias_jacobian.flatten(-2), self.covariance.flatten(-2)], -1)

    def corrected(self, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ΔR (..., 4), Δv, Δp (..., 3) to first order at another bias (..., 6); Forster et al., eq. (44)."""
        change = (self.bias_jacobian @ (bias - self.bias)[..., None])[..., 0]
        rotation = so3.mul(self.delta_rotation, so3.exp(change[..., :3]))
        return rotation, self.delta_velocity + change[..., 3:6], self.delta_position + change[..., 6:]

    def predict(self, nav_state: Tensor, gravity: Tensor, *, bias: Tensor | None = None) -> Tensor:
        """The NavState at j from the one at i.

        Args:
            nav_state: (..., 16) [position, quaternion, velocity, gyroscope bias, accelerometer bias].
            gravity: (3,) in the world, (0, 0, -9.81) where z is up, m/s².
            bias: (..., 6) the bias to correct for; the state's own by default.

        Returns:
            (..., 16), with the bias that it was corrected for.
        """
        position, q, velocity, own = nav_state.split((3, 4, 3, 6), -1)
        bias = own if bias is None else bias
        delta_rotation, delta_velocity, delta_position = self.corrected(bias)
        t = self.dt[..., None]
        q_j = so3.mul(q, delta_rotation)
        q_j = q_j * (1.5 - 0.5 * (q_j * q_j).sum(-1, keepdim=True))
        position = position + velocity * t + gravity * (t * t / 2) + so3.act(q, delta_position)
        velocity = velocity + gravity * t + so3.act(q, delta_velocity)
        shape = torch.broadcast_shapes(position.shape[:-1], bias.shape[:-1])
        return torch.cat([x.expand(*shape, -1) for x in (position, q_j, velocity, bias)], -1)
