"""Gauss-Newton."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pypose_core.optim.base import System, _Optimizer
from pypose_core.optim.solver import PINV, solve_with
from pypose_core.optim.status import Tolerance


class GaussNewton(_Optimizer):
    """Gauss-Newton steps: the δ that minimizes |R + J δ|², taken whatever becomes of the loss.

        minimize over θ   Σ_m ρ( r_mᵀ W_m r_m ),   r = model(input) - target

    Args:
        model: its last output dimension is one residual. Parameters with requires_grad=False stay as they are.
        solver: of rectangular systems J δ = -R (PINV by default, LSTSQ), or of the normal equations if it is
            for square ones (Cholesky, CG, PCG).
        kernel: robust kernel ρ, or a list of one for each output of the model.
        corrector: of the Jacobian for the kernel, or a list; FastTriggs(kernel) by default.
        weight: W (..., d, d), broadcastable to residuals (..., d); a list if there are several outputs.
        vectorize: rows of a dense Jacobian all at once by vmap; else one backward pass for each.
        structure: as of LevenbergMarquardt; sparse problems only with a solver for square systems.
        tolerance: when optimize() stops.

    Source: Nocedal and Wright, "Numerical Optimization" (2006), section 10.3.
    """

    _normal = True

    def __init__(self, model: nn.Module, solver: Callable | None = None, kernel=None, corrector=None, weight=None,
                 vectorize: bool = True, *, structure: str = 'auto', tolerance: Tolerance | None = None):
        super().__init__(model, defaults={}, solver=PINV() if solver is None else solver, kernel=kernel,
                         corrector=corrector, weight=weight, vectorize=vectorize, structure=structure,
                         tolerance=tolerance)

    def _begin(self, system: System) -> None:
        """Nothing: there is one trial step."""

    def _propose(self, system: System) -> tuple[Tensor, Tensor]:
        if system.normal is not None:
            return system.normal.solve(self.solver)
        if getattr(self.solver, 'square', False):
            return solve_with(self.solver, system.A, -system.g)
        assert isinstance(system.J, Tensor)     # no normal equations: dense
        return solve_with(self.solver, system.J, -system.R)

    def _accepts(self, last: Tensor, loss: Tensor) -> Tensor:
        return torch.isfinite(loss)


GN = GaussNewton
