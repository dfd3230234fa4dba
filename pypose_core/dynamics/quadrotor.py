"""A quadrotor whose pose is an element of SE(3)."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.dynamics.nonlinear import NLS
from pypose_core.lie import so3
from pypose_core.lie.lietensor import LieTensor


class Quadrotor(NLS):
    """A rigid body with one thrust along its z axis and three torques.

    State (..., 13): pose T_world_body (t in metres, quaternion x y z w), velocity in the world frame in m/s, angular
    rate ω in the body frame in rad/s. Input (..., 4): thrust in newton, torques about the body's axes in N m.

        ṗ = v,  Ṙ = R ω^,  v̇ = R e₃ f / m - g e₃,  J ω̇ = τ - ω × J ω

    The step is a Runge-Kutta-Munthe-Kaas one of fourth order: the attitude advances as R Exp(θ) with
    θ̇ = Jr(θ)⁻¹ ω, so it stays a rotation.

    Args:
        dt: step in seconds.
        mass: kilograms.
        inertia: (3,) moments about the body's axes, kg m².
        gravity: m/s², world z up.

    Source: Munthe-Kaas, High order Runge-Kutta methods on manifolds, 1999.
    """

    inertia: Tensor

    def __init__(self, dt: float, mass: float = 1.0, inertia=(0.01, 0.01, 0.02), gravity: float = 9.81):
        super().__init__()
        self.dt, self.mass, self.gravity = dt, mass, gravity
        self.register_buffer('inertia', torch.as_tensor(inertia, dtype=torch.get_default_dtype()))

    def _rate(self, q: Tensor, d: Tensor, state: Tensor, input: Tensor) -> Tensor:
        """The rate of the displacement d = [Δp, θ, Δv, Δω] (..., 12) from `state`."""
        theta, v, w = d[..., 3:6], state[..., 7:10] + d[..., 6:9], state[..., 10:] + d[..., 9:]
        z = torch.zeros_like(input[..., :1])
        thrust = torch.cat([z, z, input[..., :1] / self.mass], -1)
        fall = torch.cat([z, z, z + self.gravity], -1)
        acceleration = so3.act(so3.mul(q, so3.exp(theta)), thrust) - fall
        inertia = self.inertia.to(state.dtype)
        angular = (input[..., 1:] - torch.linalg.cross(w, inertia * w)) / inertia
        return torch.cat([v, so3.jl_invp(-theta, w), acceleration, angular], -1)

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The state one step later, its quaternion of unit length."""
        if isinstance(state, LieTensor):
            state = state.tensor()
        q, dt = state[..., 3:7], self.dt
        k1 = self._rate(q, torch.zeros_like(state[..., 1:]), state, input)
        k2 = self._rate(q, dt / 2 * k1, state, input)
        k3 = self._rate(q, dt / 2 * k2, state, input)
        k4 = self._rate(q, dt * k3, state, input)
        d = dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        turned = so3.mul(q, so3.exp(d[..., 3:6]))
        return torch.cat([state[..., :3] + d[..., :3], turned / turned.norm(dim=-1, keepdim=True),
                          state[..., 7:] + d[..., 6:]], -1)

    def observation(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The state itself."""
        return state
