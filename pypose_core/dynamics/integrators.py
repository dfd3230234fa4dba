"""From continuous time to discrete steps, with the input held over the step."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core.dynamics.nonlinear import NLS

Rate = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def euler(rate: Rate, x: Tensor, u: Tensor, t, dt: float) -> Tensor:
    """x + dt f(x, u, t): error O(dt²) a step."""
    return x + dt * rate(x, u, t)


def rk4(rate: Rate, x: Tensor, u: Tensor, t, dt: float) -> Tensor:
    """The classical Runge-Kutta step: error O(dt⁵)."""
    half = None if t is None else t + dt / 2
    k1 = rate(x, u, t)
    k2 = rate(x + dt / 2 * k1, u, half)
    k3 = rate(x + dt / 2 * k2, u, half)
    k4 = rate(x + dt * k3, u, None if t is None else t + dt)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def exact(A: Tensor, B: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """The zero-order hold of ẋ = A x + B u: matrices with x_{k+1} = A_d x_k + B_d u_k.

        exp([[A, B], [0, 0]] dt) = [[A_d, B_d], [0, I]]

    Args:
        A, B: (..., n, n), (..., n, m), per second.
        dt: step in seconds.

    Source: Van Loan, Computing integrals involving the matrix exponential, IEEE TAC 1978.
    """
    n, m = B.shape[-2:]
    top = torch.cat([A.expand(B.shape[:-2] + (n, n)), B], -1)
    M = torch.linalg.matrix_exp(torch.nn.functional.pad(top, (0, 0, 0, m)) * dt)
    return M[..., :n, :n], M[..., :n, n:]


class Continuous(NLS):
    """A system given by its rate ẋ = rate(x, u, t), stepped by an integrator; the observation is the state.

    Args:
        dt: step in seconds.
        integrator: `euler`, `rk4` or a function of the same arguments.

    Its time is in seconds: the clock's steps times dt.
    """

    def __init__(self, dt: float, integrator: Callable = rk4):
        super().__init__()
        self.dt, self.integrator = dt, integrator

    def forward(self, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
        """One step at the present time: (next state, observation of the given state)."""
        self.state, self.input = torch.atleast_1d(state), torch.atleast_1d(input)
        t = self.systime * self.dt
        return self.state_transition(self.state, self.input, t), self.observation(self.state, self.input, t)

    def rate(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """ẋ (..., n) per second."""
        raise NotImplementedError(f'{type(self).__name__} must define rate(state, input, t)')

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The state one step later."""
        return self.integrator(self.rate, state, input, t, self.dt)

    def observation(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The state itself."""
        return state
