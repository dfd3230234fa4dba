"""Nonlinear systems with automatic linearization."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pypose_core.dynamics.linearize import is_batched, jacobians
from pypose_core.dynamics.system import System
from pypose_core.lie.linalg import bmv


class NLS(System):
    """A nonlinear system: subclasses define state_transition(state, input, t) and observation(state, input, t).

    After set_refpoint() (x*, u*, t*) the properties are those of the linear system that agrees to first order,

        f(x, u, t*) ≈ A x + B u + c1,   g(x, u, t*) ≈ C x + D u + c2.

    They are computed when first asked for and kept until the next reference point. With leading dimensions they are
    batches, (..., n, n) for a state (..., n): rows of states are taken to be independent of each other. They are
    differentiable by the parameters where these require gradients.
    """

    def __init__(self):
        super().__init__()
        self._forms_f, self._forms_g = {}, {}
        self._linear_f = self._linear_g = None

    def forward(self, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
        """One step at the present time: (next state, observation of the given state)."""
        self.state, self.input = torch.atleast_1d(state), torch.atleast_1d(input)
        return (self.state_transition(self.state, self.input, self.systime),
                self.observation(self.state, self.input, self.systime))

    def set_refpoint(self, state: Tensor | None = None, input: Tensor | None = None,
                     t: Tensor | None = None) -> NLS:
        """Set where the system is linearized; what is not given is the most recent state, input or time."""
        self._ref_state = self.state if state is None else torch.atleast_1d(state)
        self._ref_input = self.input if input is None else torch.atleast_1d(input)
        self._ref_t = self.systime if t is None else torch.atleast_1d(torch.as_tensor(t))
        self._linear_f = self._linear_g = None
        return self

    def linearize_transition(self, state: Tensor, input: Tensor, t, **options) -> tuple[Tensor, Tensor, Any]:
        """f, ∂f/∂x, ∂f/∂u at the given rows; options and shapes as in linearize.jacobians."""
        return jacobians(self.state_transition, self._forms_f, state, input, t, **options)

    def takes_batches(self, state: Tensor, input: Tensor, t: Tensor) -> bool:
        """Whether one call of the transition does for all steps of states (T, ..., n) and inputs (T, ..., m)."""
        return is_batched(self.state_transition, self._forms_f, state, input, t)

    def linearize_observation(self, state: Tensor, input: Tensor, t, **options) -> tuple[Tensor, Tensor, Any]:
        """g, ∂g/∂x, ∂g/∂u at the given rows; options and shapes as in linearize.jacobians."""
        return jacobians(self.observation, self._forms_g, state, input, t, **options)

    def _wants_graph(self) -> bool:
        return torch.is_grad_enabled() and (self._ref_state.requires_grad or self._ref_input.requires_grad
                                            or any(p.requires_grad for p in self.parameters()))

    def _f(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._linear_f is None:
            self._linear_f = self.linearize_transition(self._ref_state, self._ref_input, self._ref_t,
                                                       create_graph=self._wants_graph())
        return self._linear_f

    def _g(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._linear_g is None:
            self._linear_g = self.linearize_observation(self._ref_state, self._ref_input, self._ref_t,
                                                        create_graph=self._wants_graph())
        return self._linear_g

    @property
    def A(self) -> Tensor:
        """∂f/∂x at the reference point (..., n, n)."""
        return self._f()[1]

    @property
    def B(self) -> Tensor:
        """∂f/∂u at the reference point (..., n, m)."""
        return self._f()[2]

    @property
    def C(self) -> Tensor:
        """∂g/∂x at the reference point (..., k, n)."""
        return self._g()[1]

    @property
    def D(self) -> Tensor:
        """∂g/∂u at the reference point (..., k, m)."""
        return self._g()[2]

    @property
    def c1(self) -> Tensor:
        """f(x*, u*, t*) - A x* - B u*."""
        f, A, B = self._f()
        return f - bmv(A, self._ref_state) - bmv(B, self._ref_input)

    @property
    def c2(self) -> Tensor:
        """g(x*, u*, t*) - C x* - D u*."""
        g, C, D = self._g()
        return g - bmv(C, self._ref_state) - bmv(D, self._ref_input)
