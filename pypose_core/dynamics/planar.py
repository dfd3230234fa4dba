"""Planar vehicles: unicycle, differential drive, kinematic bicycle (Ackermann), omnidirectional."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.dynamics.integrators import Continuous, rk4
from pypose_core.dynamics.nonlinear import NLS


def arc(pose: Tensor, vx: Tensor, vy: Tensor, w: Tensor, dt: float) -> Tensor:
    """The pose after moving at constant body velocity: exact, T Exp([vx, vy, w] dt) in SE(2).

    Args:
        pose: (..., 3) x, y in metres, heading in radians (not wrapped).
        vx, vy, w: (...), metres per second in the body frame, radians per second.

    With β = w dt / 2 the chord is sinc(β) long and points along the heading in the middle.
    """
    beta = w * (dt / 2)
    chord = dt * torch.sinc(beta / torch.pi)
    middle = pose[..., 2] + beta
    c, s = middle.cos() * chord, middle.sin() * chord
    return torch.stack([pose[..., 0] + c * vx - s * vy, pose[..., 1] + s * vx + c * vy, pose[..., 2] + w * dt], -1)


class _Planar(NLS):
    """State (..., 3): x, y in metres, heading in radians; the observation is the state."""

    def __init__(self, dt: float):
        super().__init__()
        self.dt = dt

    def observation(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The pose."""
        return state


class Unicycle(_Planar):
    """Input (..., 2): forward speed v in m/s and turn rate w in rad/s, held over a step of dt seconds. Exact."""

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The arc driven in one step."""
        v, w = input.unbind(-1)
        return arc(state, v, torch.zeros_like(v), w, self.dt)


class DifferentialDrive(_Planar):
    """Input (..., 2): rates of the left and the right wheel in rad/s. Exact.

    Args:
        dt: step in seconds.
        radius: of the wheels, metres.
        track: distance between the wheels, metres.
    """

    def __init__(self, dt: float, radius: float, track: float):
        super().__init__(dt)
        self.radius, self.track = radius, track

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """v = r (w_l + w_r) / 2, w = r (w_r - w_l) / track."""
        left, right = input.unbind(-1)
        v = (left + right) * (self.radius / 2)
        return arc(state, v, torch.zeros_like(v), (right - left) * (self.radius / self.track), self.dt)


class Omnidirectional(_Planar):
    """Input (..., 3): velocity vx, vy in m/s in the body frame and turn rate w in rad/s. Exact."""

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The screw motion of one step."""
        vx, vy, w = input.unbind(-1)
        return arc(state, vx, vy, w, self.dt)


class Ackermann(Continuous):
    """The kinematic bicycle about its rear axle: ẋ = v cos θ, ẏ = v sin θ, θ̇ = v tan(δ) / L, v̇ = a.

    State (..., 4): x, y in metres, heading θ in radians, speed v in m/s. Input (..., 2): acceleration a in m/s²,
    steering angle δ in radians.

    Args:
        dt: step in seconds.
        wheelbase: L, metres.
    """

    def __init__(self, dt: float, wheelbase: float, integrator=rk4):
        super().__init__(dt, integrator)
        self.wheelbase = wheelbase

    def rate(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The state's derivative."""
        _, _, heading, v = state.unbind(-1)
        a, steering = input.unbind(-1)
        return torch.stack([v * heading.cos(), v * heading.sin(), v * steering.tan() / self.wheelbase, a], -1)
