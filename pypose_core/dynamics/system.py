"""The base class of discrete-time systems."""
from __future__ import annotations

import torch
from torch import Tensor, nn


class System(nn.Module):
    """x_{k+1} = f(x_k, u_k, t_k), y_k = g(x_k, u_k, t_k), with a clock that each call advances by one step.

    Subclasses define `state_transition` and `observation`; most derive from `LTI`, `LTV` or `NLS`.
    """

    _t: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer('_t', torch.tensor(0, dtype=torch.int64))
        self.register_forward_hook(self.forward_hook)

    def forward_hook(self, module, inputs, outputs) -> None:
        """Advances the clock; called after each forward()."""
        self._t = self._t + 1   # not in place: a graph may hold the present time

    def reset(self, t: int = 0) -> System:
        """Set the clock to step t; returns the system."""
        self._t = torch.full_like(self._t, t)
        return self

    def forward(self, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
        """One step: (next state (..., n), observation (..., k) of the given state)."""
        self.state, self.input = torch.atleast_1d(state), torch.atleast_1d(input)
        return self.state_transition(self.state, self.input), self.observation(self.state, self.input)

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The next state f(x, u, t), without noise, since it is what is linearized."""
        raise NotImplementedError(f'{type(self).__name__} must define state_transition(state, input, t)')

    def observation(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The observation g(x, u, t), without noise, since it is what is linearized."""
        raise NotImplementedError(f'{type(self).__name__} must define observation(state, input, t)')

    def set_refpoint(self, state: Tensor | None = None, input: Tensor | None = None,
                     t: Tensor | None = None) -> System:
        """Set where A, B, C, D, c1, c2 are taken; without effect for systems that are the same everywhere."""
        return self

    @property
    def systime(self) -> Tensor:
        """The clock: steps since the start, an integer tensor."""
        return self._t

    @systime.setter
    def systime(self, t: Tensor | int) -> None:
        self._t = torch.as_tensor(t, device=self._t.device).detach().to(self._t.dtype).reshape(self._t.shape).clone()
