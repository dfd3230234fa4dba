"""Powell's dogleg."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pypose_core.optim.base import System, _Optimizer
from pypose_core.optim.solver import Cholesky, solve_with
from pypose_core.optim.status import Tolerance
from pypose_core.optim.strategy import quality


class Dogleg(_Optimizer):
    """Dogleg steps: of the path from 0 by the best point down the gradient to the Gauss-Newton point, the last
    point within the trust region |S δ| <= Δ, with S² = diag A. Tried with shrinking Δ until one reduces the loss.

    One factorization serves all trials of a step, where Levenberg-Marquardt needs one for each. Where A is
    singular the step goes down the gradient. Independent problems have their own Δ.

    Args:
        model: its last output dimension is one residual. Parameters with requires_grad=False stay as they are.
        solver: of A δ = b; Cholesky by default.
        kernel: robust kernel ρ, or a list of one for each output of the model.
        corrector: of the Jacobian for the kernel, or a list; FastTriggs(kernel) by default.
        weight: W (..., d, d), broadcastable to residuals (..., d); a list if there are several outputs.
        radius: Δ at the beginning, without unit: columns of J S⁻¹ have length 1.
        reject: trial steps that may be rejected in one step. If all are, the parameters stay as they were.
        min, max: bounds of the diagonal of A.
        vectorize: rows of a dense Jacobian all at once by vmap; else one backward pass for each.
        structure: 'auto' looks for independent problems, 'dense' does not.
        tolerance: when optimize() stops.

    Source: Powell, "A hybrid method for nonlinear equations" (1970); radius as Nocedal and Wright, algorithm 4.1.
    """

    def __init__(self, model: nn.Module, solver: Callable | None = None, kernel=None, corrector=None, weight=None,
                 radius: float = 1e4, reject: int = 16, min: float = 1e-6, max: float = 1e32,
                 vectorize: bool = True, *, structure: str = 'auto', tolerance: Tolerance | None = None):
        if not radius > 0:
            raise ValueError(f'radius has to be positive: {radius}')
        if not 0 < min <= max:
            raise ValueError(f'min and max have to be positive, min the smaller: {min}, {max}')
        super().__init__(model, defaults={'radius': radius, 'min': min, 'max': max},
                         solver=Cholesky() if solver is None else solver, kernel=kernel, corrector=corrector,
                         weight=weight, vectorize=vectorize, structure=structure, tolerance=tolerance)
        self.reject = reject

    def _tries(self) -> int:
        return self.reject + 1

    def _begin(self, system: System) -> None:
        pg, P = self.param_groups[0], len(system.last)
        radius = torch.as_tensor(pg['radius'], dtype=system.last.dtype, device=system.last.device)
        if radius.ndim and radius.shape != (P,):
            radius = torch.as_tensor(self.defaults['radius']).to(system.last)
        pg['radius'] = radius.expand(P)
        A = system.A
        self._scale = A.diagonal(dim1=-2, dim2=-1).clamp(pg['min'], pg['max']).sqrt().unsqueeze(-1)
        A, g = A / (self._scale * self._scale.mT), system.g / self._scale
        newton, self._solved = solve_with(self.solver, A, -g)
        curvature = (g * (A @ g)).sum((1, 2), keepdim=True)
        slope = g.square().sum((1, 2), keepdim=True)
        tiny = torch.finfo(A.dtype).tiny
        self._down = -g / slope.sqrt().clamp(min=tiny)
        self._steepest = -g * slope / curvature.clamp(min=tiny)
        self._newton = torch.where(self._solved[:, None, None], newton, self._steepest)

    def _propose(self, system: System) -> tuple[Tensor, Tensor]:
        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).sum((1, 2), keepdim=True)

        radius = self.param_groups[0]['radius'].reshape(-1, 1, 1)
        leg = self._newton - self._steepest
        # Where |steepest + β leg| = Δ; written so that no digits cancel.
        a, b = dot(leg, leg), dot(self._steepest, leg)
        c = (radius.square() - dot(self._steepest, self._steepest)).clamp(min=0)
        beta = c / (b + (b.square() + a * c).sqrt()).clamp(min=torch.finfo(c.dtype).tiny)
        # b < 0 is impossible in exact arithmetic.
        point = self._steepest + beta.clamp(max=1) * leg
        point = torch.where(dot(self._steepest, self._steepest) >= radius.square(), radius * self._down, point)
        point = torch.where(dot(self._newton, self._newton) <= radius.square(), self._newton, point)
        D = point / self._scale
        finite = D.isfinite().flatten(1).all(1)
        return torch.where(finite[:, None, None], D, 0), finite

    def _adapt(self, system: System, D: Tensor, loss: Tensor, done: Tensor) -> None:
        pg = self.param_groups[0]
        rho = quality(system.last, loss, system.J, D, system.R)
        length = torch.linalg.vector_norm(self._scale * D, dim=(1, 2))
        radius = pg['radius']
        grown = torch.where(rho > 0.75, torch.maximum(radius, 3 * length), radius)
        adapted = torch.where(rho > 0.25, grown, 0.5 * torch.minimum(radius, length))
        tiny = torch.finfo(radius.dtype).tiny
        pg['radius'] = torch.where(done | ~torch.isfinite(length), radius, adapted.clamp(min=tiny))
