"""A PID controller with bounded output."""
from __future__ import annotations

import torch
from torch import Tensor


class PID:
    """u = kp e + ki ∫ e dt - kd ẏ, within bounds, batched over any shape.

    Args:
        kp, ki, kd: gains, numbers or tensors that broadcast to the error.
        lower, upper: bounds of the output.
        tau: seconds; the derivative is low-pass filtered with this time constant, 0 for none.

    The derivative acts on the measurement, so that a jump of the reference makes no kick. While the output is at a
    bound the integral does not grow further into it.

    Source: Åström and Hägglund, Advanced PID Control, 2006, chapters 3.3 to 3.5.
    """

    def __init__(self, kp: float | Tensor, ki: float | Tensor = 0.0, kd: float | Tensor = 0.0, *,
                 lower: float = -torch.inf, upper: float = torch.inf, tau: float = 0.0):
        if lower > upper:
            raise ValueError(f'lower ({lower}) is above upper ({upper})')
        self.kp, self.ki, self.kd, self.lower, self.upper, self.tau = kp, ki, kd, lower, upper, tau
        self.reset()

    def reset(self) -> None:
        """Forget the integral and the last measurement."""
        self.integral: Tensor | float = 0.0
        self._last: Tensor | None = None
        self._slope: Tensor | float = 0.0

    def __call__(self, reference: Tensor, measurement: Tensor, dt: float) -> Tensor:
        """The output for the present reference and measurement, dt seconds after the last call."""
        if not dt > 0:
            raise ValueError(f'dt must be positive, got {dt}')
        reference, measurement = torch.as_tensor(reference), torch.as_tensor(measurement)
        error = reference - measurement
        if self._last is not None:
            slope = (measurement - self._last) / dt
            blend = dt / (self.tau + dt)
            self._slope = self._slope + blend * (slope - self._slope)
        self._last = measurement
        grown = self.integral + self.ki * error * dt
        wanted = self.kp * error + grown - self.kd * self._slope
        output = wanted.clamp(self.lower, self.upper)
        # Into a saturated bound the integral stands still; out of it, it moves.
        deeper = ((wanted > self.upper) & (self.ki * error > 0)) | ((wanted < self.lower) & (self.ki * error < 0))
        self.integral = torch.where(deeper, torch.as_tensor(self.integral, dtype=grown.dtype), grown)
        return output
