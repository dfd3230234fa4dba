"""The error-state Kalman filter: a state on a Lie group, its error in the tangent space."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core.dynamics.linearize import jacobians
from pypose_core.filter.kalman import correct, squared
from pypose_core.lie.lietensor import LieTensor


class ErrorStateEKF:
    """An EKF whose state is a group element: X = X̂ Exp(δ), δ ~ N(0, P).

    Args:
        X: the first estimate, a LieTensor of any group (..., width): SO3, SE3, SE23, Sim3, ...
        P: covariance of δ (..., d, d), d the group's dimension. δ is a perturbation from the right: in the body frame.

    The mean moves along the group, and P with the Jacobians of the error; both are batched over leading dimensions.
    The covariance is carried to the new tangent space after a correction.

    Source: Solà, Deray and Atchuthan, A micro Lie theory for state estimation in robotics, 2018, section V.
    """

    def __init__(self, X: LieTensor, P: Tensor):
        dof = X.ltype.manifold[0]
        if P.shape[-2:] != (dof, dof):
            raise ValueError(f'the covariance of a {X.ltype.name} must be (..., {dof}, {dof}), got {tuple(P.shape)}')
        self.X, self.P = X, P
        self._algebra = X.ltype.cls.algebra     # type: ignore[attr-defined]
        self._dof = dof
        self._forms: dict = {}

    def _at(self, delta: Tensor) -> LieTensor:
        return self.X @ self._algebra(delta).Exp()

    def _derivative(self, function: Callable[[Tensor], Tensor], of: Callable) -> tuple[Tensor, Tensor]:
        """function(δ) and its Jacobian by δ at zero; `of` is the user's part of it, by which its form is known."""
        forms = self._forms.setdefault(getattr(of, '__code__', type(of)), {})
        zero = torch.zeros(*self.X.lshape, self._dof, dtype=self.X.dtype, device=self.X.device)
        value, J, _ = jacobians(lambda delta, u, t: function(delta), forms, zero, zero, None, by_input=False)
        return value, J

    def predict(self, motion: Callable[[LieTensor], LieTensor], Q: Tensor) -> None:
        """X ← motion(X), with noise of covariance Q (..., d, d) from the right of the new state."""
        moved = motion(self.X)
        inverse = moved.Inv()
        _, F = self._derivative(lambda delta: (inverse @ motion(self._at(delta))).Log().tensor(), motion)
        P = F @ self.P @ F.mT + Q
        self.X, self.P = moved, (P + P.mT) / 2

    def update(self, y: Tensor, observation: Callable[[LieTensor], Tensor], R: Tensor,
               difference: Callable[[Tensor, Tensor], Tensor] = torch.sub) -> Tensor:
        """Take in y = observation(X) + v, v ~ N(0, R).

        Args:
            y: (..., k), or what `difference` compares.
            observation: of a state, (..., k); or a LieTensor where `difference` takes one.
            difference: y ⊖ h, (..., k); for a measured group element Y: lambda Y, h: (h.Inv() @ Y).Log().tensor().

        Returns:
            the normalized innovation squared (...,), χ² of k degrees of freedom if all is modelled right.
        """
        innovation, J = self._derivative(lambda delta: difference(y, observation(self._at(delta))), observation)
        H = -J      # y ⊖ h falls as h grows
        zero = torch.zeros_like(self.P[..., 0])
        S = H @ self.P @ H.mT + R
        delta, P, _ = correct(zero, self.P, H, R, innovation)
        algebra = self._algebra(delta)
        # Exp(δ) Exp(ε) for the error ε that is left: in the new tangent space it is Jr(δ) ε.
        reset = algebra.Jr()
        P = reset @ P @ reset.mT
        self.X, self.P = self.X @ algebra.Exp(), (P + P.mT) / 2
        return squared(innovation, S)

    def error(self, truth: LieTensor) -> Tensor:
        """δ of the truth: Log(X̂⁻¹ X) (..., d)."""
        return (self.X.Inv() @ truth).Log().tensor()
