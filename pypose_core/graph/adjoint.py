"""Implicit gradients that can be differentiated again.

The gradient of a loss by the inputs of a solution is d(v' g)/dtheta with H v = -dL/dx (see curvature.py). Here both
halves are operations of autograd at the solution x*(theta), to which they stay connected:

    s = H^-1 b     d(lambda' H^-1 b) = s_lambda' (db - dH s),  s_lambda = H^-1 lambda

so that a derivative of any order costs solves with the same cached factor, and tapes of the cost.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .curvature import AdjointSolution, Curvature, Input, Taped, solve_adjoint
from .factors import Factors
from .problem import Problem
from .unrolled import install


@dataclass
class AdjointSystem:
    """What belongs to a solution besides tensors."""

    problem: Problem
    places: Sequence[tuple[Factors, str]]
    """Where the inputs go."""
    tolerance: float
    last: AdjointSolution | None = None
    """Of the latest solve."""

    def inputs(self, tensors: Sequence[Tensor]) -> list[Input]:
        return [Input(*place, x) for place, x in zip(self.places, tensors)]

    def curvature(self, tensors: Sequence[Tensor]) -> tuple[dict[str, Tensor], Curvature]:
        """The values and the Hessian there, of (*values, *inputs)."""
        values, inputs = self._parted(tensors)
        install(inputs, known=True)
        return values, Curvature(self.problem, values, inputs)

    def solve(self, curvature: Curvature, values: dict[str, Tensor], b: Tensor) -> Tensor:
        """H^-1 b."""
        self.last = solve_adjoint(curvature, values, b, tolerance=self.tolerance)
        return self.last.value

    def taped(self, tensors: Sequence[Tensor]) -> Taped:
        values, inputs = self._parted(tensors)
        return Taped(self.problem, values, self.problem.factors, inputs)

    def _parted(self, tensors: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[Input]]:
        names = list(self.problem.groups)
        return dict(zip(names, tensors)), self.inputs(tensors[len(names):])


def aliases(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors for partial derivatives: by one of these, the others do not depend on it."""
    return [x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in tensors]


def by_inputs(system: AdjointSystem, b: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """d(v' g)/d of each input with H v = -b.

    Args:
        b: (dimension,)
        tensors: (*values, *inputs), connected to what they were made of.
    """
    v = Solve.apply(system, -b, *tensors)
    at = aliases(tensors)
    return system.taped(at).along(v, at[len(system.problem.groups):], create_graph=True)


class Solve(torch.autograd.Function):
    """H^-1 b, differentiable by b, the values and the inputs."""

    @staticmethod
    def forward(ctx, system: AdjointSystem, b: Tensor, *tensors: Tensor) -> Tensor:
        values, curvature = system.curvature(tensors)
        s = system.solve(curvature, values, b)
        ctx.system = system
        ctx.save_for_backward(s, *tensors)
        return s

    @staticmethod
    def backward(ctx, gradient: Tensor):
        s, *tensors = ctx.saved_tensors
        again = torch.is_grad_enabled()
        turned = Solve.apply(ctx.system, gradient, *tensors)
        with torch.enable_grad():
            at = aliases(tensors)
            bent = ctx.system.taped(at).bent(s, -turned, at, create_graph=again)
        return None, turned, *bent
