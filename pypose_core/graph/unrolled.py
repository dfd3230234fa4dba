"""One Gauss-Newton step on a graph, differentiable by where it starts and by what the factors are given."""
from collections.abc import Sequence

import torch
from torch import Tensor

from .curvature import Input, with_inputs
from .groups import normalized
from .problem import Problem, Values


class _Step(torch.autograd.Function):
    """d = -A^-1 g with A = H + damping diag(H), H the Gauss-Newton matrix.

    For a loss with gradient l by d, with u = -A^-1 l: dL = u' (dg + dA d).
    """

    @staticmethod
    def forward(ctx, problem: Problem, names: tuple[str, ...], inputs: tuple[Input, ...], damping: float,
                *tensors: Tensor) -> Tensor:
        values = dict(zip(names, (x.detach() for x in tensors)))
        install(inputs, known=True)
        step = _solve(problem, values, damping, None)
        ctx.problem, ctx.names, ctx.damping = problem, names, damping
        ctx.places = [(one.factors, one.name) for one in inputs]
        ctx.save_for_backward(step, *tensors)
        return step

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        step, *tensors = ctx.saved_tensors
        problem, count = ctx.problem, len(ctx.names)
        tensors = [x.detach().requires_grad_() for x in tensors]
        values = dict(zip(ctx.names, tensors))
        inputs = [Input(factors, name, x) for (factors, name), x in zip(ctx.places, tensors[count:])]
        install(inputs, known=True)
        u = _solve(problem, {name: x.detach() for name, x in values.items()}, ctx.damping, gradient)
        with torch.enable_grad():
            total = _first_order(problem, values, inputs, ctx.damping, problem.split(u), problem.split(step))
            out = torch.autograd.grad(total, tensors, allow_unused=True)
        return None, None, None, None, *out


def install(inputs: Sequence[Input], *, known: bool = False) -> None:
    """Put the inputs into their factors, again where they are known."""
    for one in inputs:
        one.factors.take(one.slot, one.value, known=known)


def _solve(problem: Problem, values: Values, damping: float, gradient: Tensor | None) -> Tensor:
    """-A^-1 times a gradient; by default that of half the cost."""
    _, _, H, g = problem.linearize(values)
    failed = problem.solver.try_factorize(H, damping=damping)
    if failed >= 0:
        raise torch.linalg.LinAlgError(f'the factors leave {problem.variable(failed)} undetermined')
    return -problem.solver.solve(g if gradient is None else gradient)


def _first_order(problem: Problem, values: Values, inputs: Sequence[Input], damping: float, u: Values,
                 step: Values) -> Tensor:
    """u' (g + A d) for constant u and d, as a function of values and inputs."""
    total = torch.zeros((), dtype=torch.float64)
    diagonal = {name: torch.zeros_like(x) for name, x in u.items()}
    for factors in problem.factors:
        data, information, weight = with_inputs(factors, inputs)
        r, jacobians = factors.jacobians(factors.at(values), data)
        along_u, along_d = torch.zeros_like(r), r
        for k, (name, J) in enumerate(zip(factors.variables, jacobians)):
            along_u = along_u + (J @ u[name][factors.index[:, k], :, None])[..., 0]
            along_d = along_d + (J @ step[name][factors.index[:, k], :, None])[..., 0]
        s = (r[:, None, :] @ information @ r[..., None])[:, 0, 0]
        weighted = s if weight is None else weight * s
        slope, = torch.autograd.grad(factors.kernel.rho(weighted, factors.width).sum(), weighted, create_graph=True)
        slope = slope if weight is None else slope * weight
        total = total + (slope * (along_u[:, None, :] @ information @ along_d[..., None])[:, 0, 0]).sum()
        for k, (name, J) in enumerate(zip(factors.variables, jacobians)):
            square = (J * (information @ J)).sum(1) * slope[:, None]
            diagonal[name] = diagonal[name].index_add(0, factors.index[:, k], square)
    return total + damping * sum((u[name] * step[name] * D).sum() for name, D in diagonal.items())


def gauss_newton_step(problem: Problem, values: Values, inputs: Sequence[Input], damping: float) -> Values:
    """Values after one step, in the autograd graph of values and inputs.

    Raises:
        torch.linalg.LinAlgError: a variable is undetermined.
    """
    d = _Step.apply(problem, tuple(values), tuple(inputs), damping, *values.values(),
                    *(one.value for one in inputs))
    parts = problem.split(d)
    return {name: normalized(problem.groups[name], problem.groups[name].retract(X, parts[name]))
            for name, X in values.items()}
