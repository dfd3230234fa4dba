"""A factor graph as a layer: the solution, with its gradient by what the factors are given.

    x*(theta) = argmin over x  sum of rho(weight r(x, theta)' Omega(theta) r(x, theta))
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from pypose_core.lie import so3
from pypose_core.optim.layer import DifferentiableSolver

from .adjoint import AdjointSystem, by_inputs
from .curvature import Input
from .factor_graph import FactorGraph
from .factors import Factors
from .groups import SE3, Group
from .levenberg_marquardt import LevenbergMarquardt
from .problem import Problem, Values
from .result import GraphResult
from .unrolled import gauss_newton_step, install


class SolverLayer(DifferentiableSolver):
    """Optimizes a factor graph, differentiably by measurements, information and weights. Sparse; the dense one for
    residuals of any form is `pypose_core.optim.SolverLayer`.

        odometry = graph.add(Between('pose', pairs, measured))
        layer = SolverLayer(graph, [(odometry, 'measured'), (odometry, 'information')])
        poses = layer(network(images), Omega)['pose']                  # (N, 7), differentiable

    Args:
        graph: its present values are the start; each call leaves its solution there.
        inputs: (batch of the graph, name) for each tensor that `forward` takes: 'information', 'sqrt_information',
            'weight', or one of `batch.data`: 'measured', 'preintegrated', 'lever_arm', 'data0', ...
        gradient: where the solution's gradient comes from.
            'implicit': the gradient of the cost stays zero, so dx* = -H^-1 d(dcost/dx) with the exact Hessian H, solved
            with the factor that the optimizer leaves (`adjoint` says at what cost). None by the start.
            'unroll': `steps` Gauss-Newton steps from the start are differentiated, also by the start.
            'truncated': as many from the solution, which counts as a constant.
        steps, damping: of the last two; damping is relative to the diagonal.
        solver: finds the solution, for 'implicit' and 'truncated'; LevenbergMarquardt() by default.
        tolerance: of the adjoint system's residual, for 'implicit': about the relative error of the gradient.

    `result` holds the GraphResult of the last call (None for 'unroll'), `adjoint` the AdjointSolution of the last
    implicit backward. Implicit gradients can be differentiated again, as often as wanted; each further derivative is
    one of the whole cost on autograd's tape.

    Source: Krantz and Parks, "The implicit function theorem" (2002), theorem 3.3.1.
    """

    def __init__(self, graph: FactorGraph, inputs: Sequence[tuple[Factors, str]], *, gradient: str = 'implicit',
                 steps: int = 5, damping: float = 1e-9, solver: LevenbergMarquardt | None = None,
                 tolerance: float = 1e-6):
        super().__init__(gradient, steps, damping)
        self.graph, self.inputs, self.solver, self.tolerance = graph, list(inputs), solver, tolerance
        for factors, _ in self.inputs:
            if not any(factors is other for other in graph.factors):
                raise ValueError('an input belongs to factors that are not in the graph')
        self.result: GraphResult | None = None
        self.adjoint = None

    def forward(self, *tensors: Tensor, start: Values | None = None) -> Values:
        """Solve.

        Args:
            tensors: one for each of the inputs, for all factors or the same for each: (M, ...) or (...).
            start: (N, storage) of some sets; the graph's present values of the others.

        Returns:
            (N, storage) of each set. Gradients are those along the group: the quaternion's has no part along itself.

        Raises:
            ValueError: a tensor does not fit its factors.
            torch.linalg.LinAlgError: (also in backward) a variable is undetermined.
        """
        if len(tensors) != len(self.inputs):
            raise ValueError(f'the layer takes {len(self.inputs)} tensors, not {len(tensors)}')
        inputs = [Input(factors, name, factors.expanded(name, x)) for (factors, name), x in zip(self.inputs, tensors)]
        install(inputs)
        for name, X in (start or {}).items():
            self.graph.set_values(name, X)
        problem = self.graph.problem()
        if self.gradient == 'unroll':
            values = {**self.graph.values, **{name: X.as_subclass(Tensor).to(torch.float64)
                                              for name, X in (start or {}).items()}}
        else:
            self.result = self.graph.optimize(self.solver)
            values = dict(self.result.value)
        wanted = torch.is_grad_enabled() and any(one.value.requires_grad for one in inputs)
        if self.gradient == 'implicit':
            if wanted:
                values = dict(zip(problem.groups, _Implicit.apply(self, problem, values, inputs,
                                                                  *(one.value for one in inputs))))
            return values
        for _ in range(self.steps if wanted or self.gradient == 'unroll' else 0):
            values = gauss_newton_step(problem, values, inputs, self.damping)
        if self.gradient == 'unroll':
            self.graph.values = {name: X.detach() for name, X in values.items()}
        return values


class _Implicit(torch.autograd.Function):
    """The solution unchanged, with the derivative -H^-1 d(dcost/dx)."""

    @staticmethod
    def forward(ctx, layer: SolverLayer, problem: Problem, values: Values, inputs: list[Input], *tensors: Tensor):
        ctx.layer = layer
        ctx.system = AdjointSystem(problem, [(one.factors, one.name) for one in inputs], layer.tolerance)
        solution = tuple(values[name].clone() for name in problem.groups)
        ctx.save_for_backward(*solution, *tensors)
        return solution

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        system, tensors = ctx.system, ctx.saved_tensors
        problem = system.problem
        b = problem.join({name: _by_step(problem.groups[name], X, gradient)
                          for name, X, gradient in zip(problem.groups, tensors, gradients)})
        if torch.is_grad_enabled():         # create_graph
            found = by_inputs(system, b, tensors)
        else:
            values, curvature = system.curvature(tensors)
            found = curvature.by_inputs(system.solve(curvature, values, -b))
        ctx.layer.adjoint = system.last
        return None, None, None, None, *found


def _by_step(group: Group, X: Tensor, gradient: Tensor) -> Tensor:
    """(N, dof) gradient by a perturbation of X, from that by its storage."""
    if group is SE3:
        inverse = so3.inv(X[:, 3:])
        return torch.cat([so3.act(inverse, gradient[:, :3]), so3.mul(inverse, gradient[:, 3:])[:, :3] / 2], 1)
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        d = torch.zeros(len(X), group.dof, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(group.retract(X, d), d, gradient, create_graph=again)[0]
