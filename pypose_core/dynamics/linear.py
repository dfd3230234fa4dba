"""Linear systems, time-invariant and time-varying."""
from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from pypose_core.dynamics.system import System
from pypose_core.lie.linalg import bmv


class LTI(System):
    """x_{k+1} = A x_k + B u_k + c1, y_k = C x_k + D u_k + c2.

    Args:
        A, B, C, D: (..., n, n), (..., n, m), (..., k, n), (..., k, m), leading dimensions broadcast.
        c1, c2: (..., n), (..., k); none by default.
    """

    _A: Tensor
    _B: Tensor
    _C: Tensor
    _D: Tensor
    _c1: Tensor | None
    _c2: Tensor | None

    def __init__(self, A, B, C, D, c1=None, c2=None):
        super().__init__()
        for name, value in zip(('_A', '_B', '_C', '_D', '_c1', '_c2'), (A, B, C, D, c1, c2)):
            # A Parameter stays one, so that systems can be learned.
            if isinstance(value, torch.nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)

    def forward(self, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
        """One step: (next state, observation of the given state)."""
        return super().forward(state, input)

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """A x + B u + c1."""
        z = bmv(self.A, state) + bmv(self.B, input)
        return z if self.c1 is None else z + self.c1

    def observation(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """C x + D u + c2."""
        y = bmv(self.C, state) + bmv(self.D, input)
        return y if self.c2 is None else y + self.c2

    @property
    def A(self) -> Tensor:
        """State matrix (..., n, n)."""
        return self._A

    @property
    def B(self) -> Tensor:
        """Input matrix (..., n, m)."""
        return self._B

    @property
    def C(self) -> Tensor:
        """Output matrix (..., k, n)."""
        return self._C

    @property
    def D(self) -> Tensor:
        """Feedthrough matrix (..., k, m)."""
        return self._D

    @property
    def c1(self) -> Tensor | None:
        """Constant of the transition (..., n)."""
        return self._c1

    @property
    def c2(self) -> Tensor | None:
        """Constant of the observation (..., k)."""
        return self._c2


class LTV(LTI):
    """A linear system whose matrices depend on the clock.

    Args:
        A, B, C, D: stacked over time: (..., T, n, n), (..., T, n, m), (..., T, k, n), (..., T, k, m).
        c1, c2: (..., T, n), (..., T, k).

    A matrix or constant without the dimension of time is the same at each step.

    Each property gives what belongs to the present step `systime`, 0 <= systime < T. Override the properties for
    another dependence on the clock, e.g. a periodic one.
    """

    def __init__(self, A=None, B=None, C=None, D=None, c1=None, c2=None):
        super().__init__(A, B, C, D, c1, c2)

    @overload
    def _now(self, stack: Tensor, trailing: int) -> Tensor: ...

    @overload
    def _now(self, stack: Tensor | None, trailing: int) -> Tensor | None: ...

    def _now(self, stack: Tensor | None, trailing: int) -> Tensor | None:
        if stack is None or stack.dim() == trailing:
            return stack
        t, steps = int(self._t), stack.shape[-1 - trailing]
        if not 0 <= t < steps:
            raise IndexError(f'the system is defined for {steps} steps, its clock is at {t}: reset() it')
        return stack.select(-1 - trailing, t)

    @property
    def A(self) -> Tensor:
        """State matrix at the present step."""
        return self._now(self._A, 2)

    @property
    def B(self) -> Tensor:
        """Input matrix at the present step."""
        return self._now(self._B, 2)

    @property
    def C(self) -> Tensor:
        """Output matrix at the present step."""
        return self._now(self._C, 2)

    @property
    def D(self) -> Tensor:
        """Feedthrough matrix at the present step."""
        return self._now(self._D, 2)

    @property
    def c1(self) -> Tensor | None:
        """Constant of the transition at the present step."""
        return self._now(self._c1, 1)

    @property
    def c2(self) -> Tensor | None:
        """Constant of the observation at the present step."""
        return self._now(self._c2, 1)

    def set_refpoint(self, state=None, input=None, t=None) -> LTV:
        """Set the clock to t, if given."""
        if t is not None:
            self.systime = t
        return self
