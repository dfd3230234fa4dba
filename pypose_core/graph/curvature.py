"""Second derivatives of half a graph's cost, and the adjoint system that implicit gradients need.

At a minimum over x the gradient g(x, theta) of half the cost stays 0, so dx = -H^-1 (dg/dtheta) dtheta with H the exact
Hessian: that of Gauss-Newton plus what the residuals and kernels bend. For a loss L(x)

    dL/dtheta = d(v' g)/dtheta    with    H v = -dL/dx.

H is only multiplied with. Conjugate gradients solve for v, preconditioned by the factor of the Gauss-Newton matrix that
the optimizer has left: as many back-substitutions as H is far from it, and no factorization.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core import native

from .factors import EMPTY, Between, Factors, Imu, Prior
from .factors.navigation import MOTION, inertial_inputs
from .groups import NAV_STATE, SE3
from .kernels import RobustKernel
from .problem import Problem, Values


@dataclass(frozen=True)
class Input:
    """A tensor that enters a batch of factors."""

    factors: Factors
    name: str
    value: Tensor
    """As `Factors.expanded` gives it."""

    @property
    def slot(self) -> str:
        """What of the factors it replaces."""
        return 'information' if self.name == 'sqrt_information' else self.name


def half_costs(factors: Factors, r: Tensor, information: Tensor, weight: Tensor | None) -> Tensor:
    """(M,) rho(weight r' Omega r) / 2."""
    s = (r[:, None, :] @ information @ r[..., None])[:, 0, 0]
    return factors.kernel.rho(s if weight is None else weight * s, factors.width) / 2


def with_inputs(factors: Factors, inputs: Sequence[Input]) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """The factors' data, information and weight, with what of the inputs is theirs in place."""
    own = {one.slot: one.value for one in inputs if one.factors is factors}
    return ({name: own.get(name, x) for name, x in factors.data.items()},
            own.get('information', factors.information), own.get('weight', factors.weight))


class _Bent:
    """Curvature of one batch of SE3 factors without kernel, in closed form."""

    def __init__(self, problem: Problem, values: Values, factors: Factors):
        self.factors = factors
        self._handle = torch.ops.pypose.graph_curvature_create(
            values[factors.variables[0]], factors.index, factors.data['measured'], factors.information,
            EMPTY if factors.weight is None else factors.weight, problem.column[factors.variables[0]])

    @staticmethod
    def knows(factors: Factors) -> bool:
        return (SE3.native and isinstance(factors, Between | Prior) and factors.groups[0] is SE3
                and factors.kernel is RobustKernel.NONE)

    def add_multiplied(self, v: Tensor, out: Tensor) -> None:
        torch.ops.pypose.graph_curvature_multiply(self._handle, v, out)

    def by_inputs(self, v: Tensor) -> dict[str, Tensor]:
        return dict(zip(('measured', 'information', 'weight'),
                        torch.ops.pypose.graph_curvature_by_inputs(self._handle, v)))


class _BentStates:
    """The same of factors on navigation states."""

    def __init__(self, problem: Problem, values: Values, factors: Factors):
        self.factors = factors
        name = factors.variables[0]
        inputs = inertial_inputs(factors.data) if isinstance(factors, Imu) else factors.data['measured']
        self._of = (values[name], factors.index, inputs, factors.information,
                    EMPTY if factors.weight is None else factors.weight, problem.column[name])

    @staticmethod
    def knows(factors: Factors) -> bool:
        return (native.available and isinstance(factors, Imu | Prior) and factors.groups[0] is NAV_STATE
                and factors.kernel is RobustKernel.NONE)

    def add_multiplied(self, v: Tensor, out: Tensor) -> None:
        torch.ops.pypose.graph_nav_curvature(*self._of, v, out)

    def by_inputs(self, v: Tensor) -> dict[str, Tensor]:
        by, information, weight = torch.ops.pypose.graph_nav_curvature_by_inputs(*self._of, v)
        if not isinstance(self.factors, Imu):
            return {'measured': by, 'information': information, 'weight': weight}
        row = torch.nn.functional.pad(by[:, :MOTION], (0, self.factors.data['preintegrated'].shape[1] - MOTION))
        return {'preintegrated': row, 'gravity': by[:, MOTION:], 'information': information, 'weight': weight}


class Taped:
    """Curvature of any batches, by differentiating their cost twice."""

    def __init__(self, problem: Problem, values: Values, batches: Sequence[Factors], inputs: Sequence[Input]):
        self._problem = problem
        with torch.enable_grad():
            self._steps = {name: torch.zeros(len(X), problem.groups[name].dof, dtype=torch.float64, requires_grad=True)
                           for name, X in values.items()}
            moved = {name: problem.groups[name].retract(values[name], d) for name, d in self._steps.items()}
            cost = torch.zeros((), dtype=torch.float64)
            for factors in batches:
                data, information, weight = with_inputs(factors, inputs)
                r = factors.residual(factors.at(moved), data)
                cost = cost + half_costs(factors, r, information, weight).sum()
            self._gradients = torch.autograd.grad(cost, tuple(self._steps.values()), create_graph=True,
                                                  materialize_grads=True)

    def along(self, v: Tensor, by: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
        """The derivative of v' g."""
        return self._derivative(self._gradients, v, by, create_graph)

    def bent(self, v: Tensor, u: Tensor, by: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
        """The derivative of u' H v."""
        multiplied = self.along(v, tuple(self._steps.values()), create_graph=True)
        return self._derivative(multiplied, u, by, create_graph)

    def _derivative(self, of: Sequence[Tensor], along: Tensor, by: Sequence[Tensor],
                    create_graph: bool) -> tuple[Tensor, ...]:
        """Of the product of some steps' rows with a vector (dimension,)."""
        parts = self._problem.split(along)
        pairs = [(g, parts[name]) for name, g in zip(self._steps, of) if g.requires_grad]
        if not pairs or not by:
            return tuple(torch.zeros_like(x) for x in by)
        return torch.autograd.grad([g for g, _ in pairs], by, [part for _, part in pairs], retain_graph=True,
                                   create_graph=create_graph, materialize_grads=True)

    def multiply(self, v: Tensor) -> Tensor:
        return self._problem.join(dict(zip(self._steps, self.along(v, tuple(self._steps.values())))))


class Curvature:
    """The exact Hessian of half the cost at some values, and the derivative of its gradient by the inputs.

    Args:
        problem: of the graph; its factors have the inputs.
        values: where, a minimum: else H is that of the cost along straight perturbations only for some factors.
        inputs: whatever they were made of is not looked at.
    """

    def __init__(self, problem: Problem, values: Values, inputs: Sequence[Input]):
        self.problem = problem
        self.inputs = [Input(one.factors, one.name, one.value.detach().requires_grad_()) for one in inputs]
        kinds = {id(factors): next((kind for kind in (_Bent, _BentStates) if kind.knows(factors)), None)
                 for factors in problem.factors}
        self._bent = [kind(problem, values, factors) for factors in problem.factors
                      if (kind := kinds[id(factors)]) is not None]
        rest = [factors for factors in problem.factors if kinds[id(factors)] is None]
        self._taped = Taped(problem, values, rest, self.inputs) if rest else None

    def multiply(self, v: Tensor) -> Tensor:
        """H v (dimension,)."""
        out = torch.zeros_like(v) if self._taped is None else self._taped.multiply(v)
        for bent in self._bent:
            bent.add_multiplied(v, out)
        return out

    def by_inputs(self, v: Tensor) -> tuple[Tensor, ...]:
        """d(v' g)/d of each input."""
        native = {id(bent.factors): bent.by_inputs(v) for bent in self._bent}
        taped = [one.value for one in self.inputs if id(one.factors) not in native]
        rest = iter(() if self._taped is None or not taped else self._taped.along(v, taped))
        return tuple(native[id(one.factors)][one.slot] if id(one.factors) in native else next(rest)
                     for one in self.inputs)


@dataclass(frozen=True)
class AdjointSolution:
    """What `solve_adjoint` returns."""

    value: Tensor
    """(dimension,) v with H v = b."""
    solves: int
    """Back-substitutions with the cached factor."""
    factorizations: int
    """Factorizations that were needed since the cached one did not do."""


def solve_adjoint(curvature: Curvature, values: Values, b: Tensor, *, tolerance: float = 1e-6,
                  max_solves: int = 100, patience: int = 12) -> AdjointSolution:
    """H v = b by conjugate gradients, preconditioned by the factor that problem.solver holds.

    The steps are orthogonal in the norm of H, so what they add to |v|^2 falls by about one ratio: the next one's share
    is foretold, which saves the substitution that would measure it.

    Args:
        values: where H was taken.
        tolerance: of v, relative, in the norm of H.
        max_solves: limit.
        patience: solves after which the Gauss-Newton matrix is factorized anew, at `values`.

    Raises:
        torch.linalg.LinAlgError: H is not positive definite, or no factor helps.
    """
    problem = curvature.problem
    v, residual, factorizations, solves = torch.zeros_like(b), b.clone(), 0, 0
    size = 0.0
    if not problem.solver.factorized:
        factorizations += _factorize(problem, values)
    while solves < max_solves and bool(residual.any()):
        d, rz, last, begun = None, 0.0, 0.0, solves
        while solves < max_solves and (factorizations or solves - begun < patience):
            z = problem.solver.solve(residual)
            solves += 1
            before, rz = rz, float(residual @ z)
            d = z if d is None else z + (rz / before) * d
            Hd = curvature.multiply(d)
            bend = float(d @ Hd)
            if not bend > 0:
                raise torch.linalg.LinAlgError(
                    'the Hessian at the solution is not positive definite: there is no implicit gradient')
            v = v + (rz / bend) * d
            residual = residual - (rz / bend) * Hd
            share = rz * rz / bend
            size += share
            if share == 0 or (last > 0 and share * min(1.0, share / last) <= tolerance ** 2 * size):
                return AdjointSolution(v, solves, factorizations)
            last = share
        if factorizations:
            raise torch.linalg.LinAlgError(f'the adjoint system was not solved in {solves} back-substitutions')
        factorizations += _factorize(problem, values)
    return AdjointSolution(v, solves, factorizations)


def _factorize(problem: Problem, values: Values) -> int:
    """Factorize the Gauss-Newton matrix at the values; returns that this was one factorization."""
    failed = problem.solver.try_factorize(problem.linearize(values)[2])
    if failed >= 0:
        raise torch.linalg.LinAlgError('the factors leave a variable undetermined, and there is no implicit '
                                       f'gradient: {problem.variable(failed)}')
    return 1
