"""The factor graph: sets of variables, batches of factors, and what is done with them."""
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .factors import Factors
from .groups import SIM3, Group, normalized
from .levenberg_marquardt import LevenbergMarquardt
from .marginals import Marginals
from .problem import Problem
from .result import GraphResult
from .small_graphs import solve_small_parts

F = TypeVar('F', bound=Factors)


class FactorGraph:
    """Variables in named sets of one group each, and factors on them.

        graph = FactorGraph()
        graph.add_variables('pose', SE3, guess)                       # (N, 7)
        graph.add(Between('pose', index, measured, information=Omega))  # (M, 2), (M, 7), (M, 6, 6)
        graph.fix('pose', [0])
        result = graph.optimize()
        result.value['pose'], str(result)

    Cost: the sum of rho(r' Omega r) over all factors, without a factor 1/2. A graph needs a gauge: in each
    connected part a prior or a held variable; without one the result's status says so and names a variable.
    """

    def __init__(self):
        self.groups: dict[str, Group] = {}
        self.values: dict[str, Tensor] = {}
        self.held: dict[str, Tensor] = {}
        self.factors: list[Factors] = []
        self._problem: Problem | None = None

    def add_variables(self, name: str, group: Group, values: Tensor) -> None:
        """A set of variables; more of them where the set exists.

        Args:
            name: of the set.
            group: of all its variables.
            values: (N, storage), the initial guess.
        """
        values = torch.as_tensor(values).as_subclass(Tensor).detach().to(torch.float64)
        if values.dim() != 2 or values.shape[1] != group.storage:
            raise ValueError(f'{group} variables need shape (N, {group.storage}), got {tuple(values.shape)}')
        if name in self.groups:
            if self.groups[name].name != group.name:
                raise ValueError(f'{name!r} is a set of {self.groups[name]} variables, not {group}')
            values = torch.cat([self.values[name], values])
        held = torch.zeros(len(values), dtype=torch.bool)
        if name in self.held:
            held[:len(self.held[name])] = self.held[name]
        self.groups[name], self.held[name] = group, held
        self.set_values(name, values)
        self._problem = None

    def set_values(self, name: str, values: Tensor) -> None:
        """Another guess (N, storage) for a set; rotations are normalised."""
        values = torch.as_tensor(values).as_subclass(Tensor).detach().to(torch.float64).contiguous()
        if values.shape != (len(self.held[name]), self.groups[name].storage):
            raise ValueError(f'values of {name!r} must have shape {(len(self.held[name]), self.groups[name].storage)}, '
                             f'got {tuple(values.shape)}')
        group = self.groups[name]
        bad = torch.zeros(len(values), dtype=torch.bool)
        if group.rotation is not None:
            bad |= values[:, group.rotation].norm(dim=1) == 0
        if group is SIM3:
            bad |= values[:, 7] <= 0
        if bool(bad.any()):
            raise ValueError(f'{name}[{int(bad.nonzero()[0, 0])}] is no element of {group}: it has no rotation, whose '
                             'norm is 0, or no positive scale')
        values = normalized(group, values)
        self.values = {**self.values, name: values}

    def add(self, factors: F) -> F:
        """Add a batch of factors; returns it, for `remove`.

        Raises:
            ValueError: it names a set or a variable that is not there, or its measurements do not fit.
        """
        for position, name in enumerate(factors.variables):
            self._known(name)
            index = factors.index[:, position]
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.values[name]):
                raise ValueError(f'a factor names a variable outside {name}[0:{len(self.values[name])}]')
        factors.check(self.groups)
        self.factors.append(factors)
        self._problem = None
        return factors

    def _known(self, name: str) -> None:
        if name not in self.groups:
            raise ValueError(f'there are no variables {name!r}; there are {sorted(self.groups)}')

    def remove(self, factors: Factors) -> None:
        """Take a batch of factors out again."""
        self.factors = [other for other in self.factors if other is not factors]
        self._problem = None

    def fix(self, name: str, index: Sequence[int] | Tensor, *, fixed: bool = True) -> None:
        """Hold variables at their values, or release them.

        Raises:
            ValueError: there is no such set or variable.
        """
        self._known(name)
        index = torch.as_tensor(index, dtype=torch.int64)
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(self.held[name]):
            raise ValueError(f'only {name}[0:{len(self.held[name])}] can be fixed; got {index.tolist()}')
        self.held[name][index] = fixed
        self._problem = None

    def problem(self) -> Problem:
        """The pattern of the normal equations and its analysis; cached until variables or factors change."""
        if self._problem is None:
            self._problem = Problem(self.groups, {name: len(x) for name, x in self.values.items()}, self.held,
                                    self.factors)
        return self._problem

    def cost(self) -> float:
        """Sum of rho(r' Omega r) at the present values."""
        return self.problem().cost(self.values)[0]

    def chi2(self) -> float:
        """Sum of r' Omega r at the present values, without kernels and weights."""
        return self.problem().cost(self.values)[1]

    def optimize(self, solver: LevenbergMarquardt | None = None) -> GraphResult:
        """Minimize the cost from the present values, and keep the result as the present values.

        Args:
            solver: LevenbergMarquardt() by default; GaussNewton and Dogleg are the others. A graph of many small
                parts is solved part by part by the first one, each with a damping of its own.
        """
        solver, result = solver or LevenbergMarquardt(), None
        if type(solver) is LevenbergMarquardt:
            result = solve_small_parts(self, solver)
        if result is None:
            result = solver.run(self.problem(), self.values)
        self.values = dict(result.value)
        return result

    def marginals(self) -> Marginals:
        """Covariances at the present values.

        Raises:
            NotPositiveDefinite: a variable is undetermined.
        """
        return Marginals(self.problem(), self.values)

    def __repr__(self) -> str:
        sets = ', '.join(f'{len(x)} {name} in {self.groups[name]}' for name, x in self.values.items())
        return f'FactorGraph({sets}; {sum(map(len, self.factors))} factors)'
