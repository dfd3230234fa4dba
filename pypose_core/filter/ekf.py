"""The extended Kalman filter, in PyPose's form."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from pypose_core.dynamics.linearize import chained_jacobians
from pypose_core.dynamics.nonlinear import NLS
from pypose_core.filter.kalman import kalman_step
from pypose_core.filter.traced import TracedSteps

_transform = torch._C._functorch.peek_interpreter_stack


def _learns(model: nn.Module) -> bool:
    """Whether a parameter of the model requires gradients."""
    return bool(model._parameters or model._modules) and any(p.requires_grad for p in model.parameters())


class EKF(nn.Module):
    """x_k = f(x_{k-1}, u_k, t) + w, y_k = h(x_k, u_k, t) + v, with w ~ N(0, Q), v ~ N(0, R).

    Args:
        model: `NLS`, `LTI`, `LTV` or another System with A and C.
        Q: covariance of w (..., n, n), used where a step gets none.
        R: covariance of v (..., k, k), likewise.

    Batched over any leading dimensions; differentiable by all inputs and the model's parameters.
    """

    def __init__(self, model, Q: Tensor | None = None, R: Tensor | None = None):
        super().__init__()
        self.register_buffer('_Q', None)
        self.register_buffer('_R', None)
        self.set_uncertainty(Q=Q, R=R)
        self.model = model
        self._traced = TracedSteps()

    def forward(self, x: Tensor, y: Tensor, u: Tensor, P: Tensor, Q: Tensor | None = None, R: Tensor | None = None,
                t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step: predict, then take in the measurement.

        Args:
            x, P: estimate (..., n) and covariance (..., n, n) before the step.
            y: measurement (..., k) of the state after it.
            u: input (..., m).
            Q, R: covariances; default those of the constructor.
            t: time; default the model's clock.

        Returns:
            x⁺ (..., n) and P⁺ (..., n, n). The measurement is linearized, and compared, at the predicted state.
        """
        Q, R = self.Q if Q is None else Q, self.R if R is None else R
        if isinstance(self.model, NLS) and not self._differentiates(x, y, u, P, Q, R):
            found = self._traced.step(self.model, x, y, torch.atleast_1d(u), P, Q, R,
                                      self.model.systime if t is None else t)
            if found is not None:
                return found
        prior, A, innovation, C = self.linearize(x, y, u, t)
        return kalman_step(prior, A, P, Q, C, R, innovation)

    def _differentiates(self, *tensors: Tensor) -> bool:
        """Whether the step is part of a derivative, or of another transform."""
        return (_transform() is not None or torch.is_grad_enabled()
                and (any(z.requires_grad for z in tensors) or _learns(self.model)))

    def linearize(self, x: Tensor, y: Tensor, u: Tensor, t: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x⁻ = f(x), A = ∂f/∂x at x, the innovation y - h(x⁻), C = ∂h/∂x at x⁻."""
        model = self.model
        t = model.systime if t is None else t
        if not isinstance(model, NLS):
            model.set_refpoint(state=x, input=u, t=t)
            prior, A = model.state_transition(x, u, t), model.A
            model.set_refpoint(state=prior, input=u, t=t)
            return prior, A, y - model.observation(prior, u, t), model.C
        if u.dim() == 0:
            u = u[None]
        graph = torch.is_grad_enabled() and (x.requires_grad or u.requires_grad or _learns(model))
        if not graph:
            prior, A, expected, C = chained_jacobians(model.state_transition, model._forms_f, model.observation,
                                                      model._forms_g, x, u, t)
            return prior, A, y - expected, C
        prior, A, _ = model.linearize_transition(x, u, t, by_input=False, create_graph=True)
        expected, C, _ = model.linearize_observation(prior, u, t, by_input=False, create_graph=True)
        return prior, A, y - expected, C

    @property
    def Q(self) -> Tensor:
        """Covariance of the transition's noise."""
        if self._Q is None:
            raise ValueError('no covariance Q of the transition: give it to the step, or to set_uncertainty(Q=...)')
        return self._Q

    @property
    def R(self) -> Tensor:
        """Covariance of the observation's noise."""
        if self._R is None:
            raise ValueError('no covariance R of the observation: give it to the step, or to set_uncertainty(R=...)')
        return self._R

    def set_uncertainty(self, Q: Tensor | None = None, R: Tensor | None = None) -> None:
        """Set the covariances used where a step gets none."""
        if Q is not None:
            self._Q = Q
        if R is not None:
            self._R = R
