"""Least squares as a layer: the solution, with its gradient by whatever the residuals are made of.

    x*(θ) = argmin over x   Σ_m ρ( r_m(x, θ)ᵀ W_m r_m(x, θ) )
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pypose_core.lie.dispatch import plain
from pypose_core.lie.lietensor import LieTensor
from pypose_core.lie.parameter import Parameter
from pypose_core.optim.corrector import robust_cost
from pypose_core.optim.levenberg_marquardt import LevenbergMarquardt
from pypose_core.optim.status import Result
from pypose_core.optim.structure import Columns
from pypose_core.optim.tangent import retract, typed

GRADIENTS = ('implicit', 'unroll', 'truncated')


class _Model(nn.Module):
    """The residual function as a model whose parameters are the unknowns."""

    def __init__(self, residual: Callable, unknowns: Sequence[Tensor]):
        super().__init__()
        self.residual = residual
        self.unknowns = nn.ParameterList([
            Parameter(u.detach().clone()) if isinstance(u, LieTensor) else nn.Parameter(u.detach().clone())
            for u in unknowns])

    def forward(self, *inputs):
        return self.residual(*self.unknowns, *inputs)


class DifferentiableSolver(nn.Module):
    """What the dense and the sparse layer have in common: where the gradient comes from.

    Args:
        gradient: 'implicit', 'unroll' or 'truncated'.
        steps: differentiated Gauss-Newton steps of the last two.
        damping: of those steps, relative to the diagonal.
    """

    def __init__(self, gradient: str, steps: int, damping: float):
        super().__init__()
        if gradient not in GRADIENTS:
            raise ValueError(f'gradient must be one of {GRADIENTS}, not {gradient!r}')
        if steps < 1:
            raise ValueError(f'steps must be positive: {steps}')
        self.gradient, self.steps, self.damping = gradient, steps, damping


class SolverLayer(DifferentiableSolver):
    """Minimizes a sum of squared residuals over some tensors, differentiably by the others. Dense.

    Args:
        residual: function of the unknowns and then the inputs; returns a tensor, in its last dimension one
            residual. Anything that is to get gradients must be an input, or made of inputs.
        unknowns: how many of the arguments are unknowns.
        gradient: where the solution's gradient comes from.
            'implicit': the gradient of the loss stays zero, so dx* = -H⁻¹ d(∂L/∂x), with the exact Hessian H at
            the solution: one linear solve, exact at an optimum, none by the start.
            'unroll': `steps` Gauss-Newton steps from the start are differentiated, also by the start.
            'truncated': as many from the solution, which counts as a constant; right up to a factor that each
            step reduces as it would reduce an error of the solution.
        kernel: robust kernel ρ.
        steps: see gradient.
        damping: λ of those steps, relative to the diagonal.
        optimizer: class that finds the solution, for 'implicit' and 'truncated'.
        max_iterations: its steps at most.

    `result` holds the optimizer's Result of the last call (None for 'unroll').

    Source: Krantz and Parks, "The implicit function theorem" (2002), theorem 3.3.1.
    """

    def __init__(self, residual: Callable, *, unknowns: int = 1, gradient: str = 'implicit',
                 kernel: Callable[[Tensor], Tensor] | None = None, steps: int = 5, damping: float = 1e-9,
                 optimizer: type = LevenbergMarquardt, max_iterations: int = 100):
        super().__init__(gradient, steps, damping)
        if unknowns < 1:
            raise ValueError(f'unknowns must be positive: {unknowns}')
        self.residual, self.unknowns, self.kernel = residual, unknowns, kernel
        self.optimizer, self.max_iterations = optimizer, max_iterations
        self.result: Result | None = None

    def forward(self, *arguments, weight: Tensor | None = None):
        """Solve.

        Args:
            arguments: a start for each of the unknowns, then the inputs.
            weight: W (..., d, d), symmetric and positive definite, broadcastable to the residuals (..., d).

        Returns:
            The solution; a tuple if there are several unknowns. Types as of the start.

        Raises:
            torch.linalg.LinAlgError: the Hessian at the solution is singular: it has no implicit gradient.
        """
        start, inputs = arguments[:self.unknowns], arguments[self.unknowns:]
        if self.gradient == 'unroll':
            values = [plain(u) for u in start]
        else:
            values = self._solution(start, inputs, weight)
        differentiated = torch.is_grad_enabled() and any(
            isinstance(t, Tensor) and t.requires_grad for t in (*arguments, weight))
        if self.gradient == 'implicit':
            if differentiated:
                values = self._attached(start, values, inputs, weight)
        elif differentiated or self.gradient == 'unroll':
            for _ in range(self.steps):
                values = self._gauss_newton(start, values, inputs, weight)
        solution = tuple(typed(v, u) for v, u in zip(values, start))
        return solution if self.unknowns > 1 else solution[0]

    def _solution(self, start: Sequence[Tensor], inputs: Sequence, weight: Tensor | None) -> list[Tensor]:
        inputs = tuple(x.detach() if isinstance(x, Tensor) else x for x in inputs)
        model = _Model(self.residual, start)
        optimizer = self.optimizer(model, kernel=self.kernel, weight=None if weight is None else weight.detach())
        self.result = optimizer.optimize(inputs, max_iterations=self.max_iterations)
        return [plain(p.detach()) for p in model.unknowns]

    def _moved(self, start: Sequence[Tensor], values: Sequence[Tensor], columns: Columns,
               delta: Tensor) -> list[Tensor]:
        return [retract(u, v, s) for u, v, s in zip(start, values, columns.split(delta[None]))]

    def _residuals(self, start: Sequence[Tensor], values: Sequence[Tensor], inputs: Sequence) -> Tensor:
        return plain(self.residual(*(typed(v, u) for v, u in zip(values, start)), *inputs))

    def _attached(self, start: Sequence[Tensor], values: list[Tensor], inputs: Sequence,
                  weight: Tensor | None) -> list[Tensor]:
        """The solution unchanged, with the derivative -H⁻¹ d(∂L/∂x)."""
        columns = Columns(start, torch.Size())

        def loss(delta: Tensor) -> Tensor:
            r = self._residuals(start, self._moved(start, values, columns, delta), inputs)
            x = r.square().sum(-1) if weight is None else torch.einsum('...i,...ij,...j->...', r, weight, r)
            return robust_cost(self.kernel, x).sum()

        zero = values[0].new_zeros(columns.count)
        H = torch.func.jacrev(torch.func.grad(loss))(zero).detach()
        LU, pivots, info = torch.linalg.lu_factor_ex(H)
        diagonal = LU.diagonal().abs()
        if int(info) or bool(diagonal.min() <= 1e2 * torch.finfo(H.dtype).eps * diagonal.max()):
            raise torch.linalg.LinAlgError('the Hessian at the solution is singular: some unknown is without '
                                           f'constraint, and no implicit gradient exists ({self.result})')
        step = -torch.linalg.lu_solve(LU, pivots, torch.func.grad(loss)(zero).unsqueeze(-1)).squeeze(-1)
        return self._moved(start, values, columns, step - step.detach())

    def _gauss_newton(self, start: Sequence[Tensor], values: list[Tensor], inputs: Sequence,
                      weight: Tensor | None) -> list[Tensor]:
        """One damped step, in the graph."""
        columns = Columns(start, torch.Size())
        root = None if weight is None else torch.linalg.cholesky(weight).mT

        def whitened(delta: Tensor) -> tuple[Tensor, Tensor]:
            r = self._residuals(start, self._moved(start, values, columns, delta), inputs)
            r = r if root is None else (root @ r.unsqueeze(-1)).squeeze(-1)
            return r, r

        J, r = torch.func.jacrev(whitened, has_aux=True)(values[0].new_zeros(columns.count))
        if self.kernel is not None:
            slope = torch.func.grad(lambda x: robust_cost(self.kernel, x).sum())(r.square().sum(-1, keepdim=True))
            r, J = slope.sqrt() * r, slope.sqrt().unsqueeze(-1) * J
        J = J.reshape(-1, columns.count)
        A = J.mT @ J
        A = A + self.damping * torch.diag_embed(A.diagonal())
        step = torch.linalg.solve(A, -J.mT @ r.reshape(-1))
        return self._moved(start, values, columns, step)
