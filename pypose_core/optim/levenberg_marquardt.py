"""Levenberg-Marquardt."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pypose_core.optim.base import System, _Optimizer
from pypose_core.optim.solver import Cholesky, solve_with
from pypose_core.optim.status import Tolerance
from pypose_core.optim.strategy import TrustRegion


class LevenbergMarquardt(_Optimizer):
    """Levenberg-Marquardt steps: (A + λ diag A) δ = -Jᵀ R with A = Jᵀ J, tried until one reduces the loss.

        minimize over θ   Σ_m ρ( r_mᵀ W_m r_m ),   r = model(input) - target

    Independent problems (see `structure`) have their own λ, and each takes or rejects its own step.

    Args:
        model: its last output dimension is one residual. Parameters with requires_grad=False stay as they are.
        solver: of A δ = b; Cholesky by default.
        strategy: of the damping λ; TrustRegion by default.
        kernel: robust kernel ρ, or a list of one for each output of the model.
        corrector: of the Jacobian for the kernel, or a list; FastTriggs(kernel) by default.
        weight: W (..., d, d), broadcastable to residuals (..., d); a list if there are several outputs.
        reject: trial steps that may be rejected in one step. If all are, the parameters stay as they were.
        min, max: bounds of the diagonal of A.
        vectorize: rows of a dense Jacobian all at once by vmap; else one backward pass for each.
        sparse: look for elements that are gathered (see `structure`) also where there are fewer than 64 unknowns. Where
            there are more that is done anyway; PyPose's marks `sjac` and `psjac` are not needed.
        structure: 'auto' looks for independent problems, and for residuals that are each made of a few elements which
            the model gathers (`nodes[edges]`): such problems are solved by sparse factorization, or by CG if that is
            the solver. 'dense' looks for nothing.
        tolerance: when optimize() stops.

    Source: Marquardt, "An algorithm for least-squares estimation of nonlinear parameters" (1963).
    """

    _normal = True

    def __init__(self, model: nn.Module, solver: Callable | None = None, strategy=None, kernel=None,
                 corrector=None, weight=None, reject: int = 16, min: float = 1e-6, max: float = 1e32,
                 vectorize: bool = True, sparse: bool = False, *, structure: str = 'auto',
                 tolerance: Tolerance | None = None):
        if not 0 < min <= max:
            raise ValueError(f'min and max have to be positive, min the smaller: {min}, {max}')
        self.strategy = TrustRegion() if strategy is None else strategy
        super().__init__(model, defaults={'min': min, 'max': max, **self.strategy.defaults},
                         solver=Cholesky() if solver is None else solver, kernel=kernel, corrector=corrector,
                         weight=weight, vectorize=vectorize, structure=structure, tolerance=tolerance,
                         sparse=sparse)
        self.reject = reject

    def _tries(self) -> int:
        return self.reject + 1 if getattr(self.strategy, 'adapts', True) else 1

    def _begin(self, system: System) -> None:
        pg, P = self.param_groups[0], len(system.last)
        for key in self.strategy.defaults:
            value = torch.as_tensor(pg[key], dtype=system.last.dtype, device=system.last.device)
            if value.ndim and value.shape != (P,):
                value = torch.as_tensor(self.strategy.defaults[key]).to(system.last)
            pg[key] = value.reshape(()) if P == 1 else value.expand(P)
        if system.normal is not None:
            system.normal.clamp_diagonal(pg['min'], pg['max'])
            return
        self._A, self._b = system.A, -system.g
        self._A.diagonal(dim1=-2, dim2=-1).clamp_(pg['min'], pg['max'])

    def _propose(self, system: System) -> tuple[Tensor, Tensor]:
        if system.normal is not None:
            return system.normal.solve(self.solver, float(self.param_groups[0]['damping']))
        # Each trial damps the same matrix: dampings do not compound.
        diagonal = self._A.diagonal(dim1=-2, dim2=-1)
        damping = self.param_groups[0]['damping'].reshape(-1, 1)
        return solve_with(self.solver, self._A + torch.diag_embed(damping * diagonal), self._b)

    def _adapt(self, system: System, D: Tensor, loss: Tensor, done: Tensor) -> None:
        pg = self.param_groups[0]
        before = {key: pg[key] for key in self.strategy.defaults}
        batched: dict[str, Any] = {'last': system.last, 'loss': loss, 'J': system.J, 'D': D, 'R': system.R}
        if len(system.last) == 1:
            # A strategy written for PyPose gets what PyPose hands it.
            self.strategy.update(pg, **{name: value[0] if isinstance(value, Tensor) else value
                                        for name, value in batched.items()})
            return
        self.strategy.update(pg, **batched)
        for key, value in before.items():
            pg[key] = torch.where(done, value, torch.as_tensor(pg[key]).to(value))


LM = LevenbergMarquardt
