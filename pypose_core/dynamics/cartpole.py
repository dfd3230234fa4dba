"""The cart with a pole on it."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.dynamics.integrators import Continuous, rk4


class CartPole(Continuous):
    """A uniform pole hinged to a cart that a force pushes, without friction.

    State (..., 4): position x in metres, ẋ, angle θ of the pole from the upright in radians, θ̇. Input (..., 1): force
    on the cart, newton.

        θ̈ = (g sin θ - cos θ q) / (l (4/3 - m cos² θ / M)),  ẍ = q - m l θ̈ cos θ / M,  q = (F + m l θ̇² sin θ) / M

    Args:
        dt: step in seconds.
        length: l, from the hinge to the pole's centre of mass (half of the pole), metres.
        cartmass, polemass: kilograms; M is their sum, m the pole's.
        gravity: m/s².

    Source: Florian, Correct equations for the dynamics of the cart-pole system, 2007, eq. 23 and 24.
    """

    def __init__(self, dt: float, length: float = 0.5, cartmass: float = 1.0, polemass: float = 0.1,
                 gravity: float = 9.81, integrator=rk4):
        super().__init__(dt, integrator)
        self.length, self.cartmass, self.polemass, self.gravity = length, cartmass, polemass, gravity

    def rate(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The state's derivative."""
        _, velocity, angle, turning = state.unbind(-1)
        c, s = angle.cos(), angle.sin()
        total, ml = self.cartmass + self.polemass, self.polemass * self.length
        q = (input[..., 0] + ml * turning * turning * s) / total
        angular = (self.gravity * s - c * q) / (self.length * (4 / 3 - (self.polemass / total) * c * c))
        return torch.stack([velocity, q - (ml / total) * angular * c, turning, angular], -1)
