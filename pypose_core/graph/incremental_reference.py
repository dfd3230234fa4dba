"""A growing graph without the native kernels: each update is a step of Gauss-Newton on the whole graph.

The methods are those of torch.classes.pypose.IncrementalGraph. All variables are linearized anew in every update, so
that neither threshold matters, and the work of an update grows with the graph.
"""
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .factors import EMPTY, Between, Factors, Prior
from .factors.base import assemble
from .groups import NAV_STATE, SE2, SE3, Euclidean, Group, normalized
from .kernels import RobustKernel
from .problem import Problem

_MODELS = (Prior, Between)
_UPDATED, _UNANCHORED, _NOT_POSITIVE_DEFINITE, _NOT_FINITE = range(4)


class _Whitened(Factors):
    """Factors that somebody else linearizes: whitened residuals and Jacobians as they were given last."""

    def __init__(self, variables: tuple[str, ...], index: Tensor, absolute: bool, **noise):
        super().__init__(variables, index, {}, **noise)
        self._absolute = absolute
        self.r, self.J = EMPTY, EMPTY

    @property
    def absolute(self) -> bool:
        return self._absolute

    def layout(self, groups):
        return 0, {}

    def residual(self, x, data):
        raise RuntimeError('these factors are linearized elsewhere')

    jacobians = residual

    def linearize(self, values, places, H, g):
        return assemble(self, self.r, self.J, places, H, g)


@dataclass
class _Batch:
    """Factors of one call, some of which may have been removed."""

    first: int
    """Id of the first."""
    model: int
    factors: Factors
    alive: Tensor

    @property
    def ids(self) -> Tensor:
        return torch.arange(self.first, self.first + len(self.factors))


@dataclass
class _State:
    """What an update replaces as a whole."""

    points: list[Tensor] = field(default_factory=list)
    """(N, storage) of each set: where factors are linearized."""
    steps: list[Tensor] = field(default_factory=list)
    """(N, dof) of each set: from there to the estimate."""
    held: list[Tensor] = field(default_factory=list)
    batches: list[_Batch] = field(default_factory=list)
    count: int = 0
    """Ids given away."""
    moved: bool = False
    """Whether `points` were set from outside, and the next update shall not move them to the estimate."""


class ReferenceGraph:
    """Variables, factors, and the last step."""

    def __init__(self):
        self._groups: list[Group] = []
        self._state = self._staged = _State()
        self._problem: Problem | None = None        # of the last update, with its factorization

    def add_set(self, manifold: int, storage: int, dof: int, rotation: int, rotation_end: int) -> int:
        """An empty set of variables; returns its number."""
        self._groups.append((SE2, SE3, NAV_STATE, Euclidean(dof))[manifold])
        state = self._state
        state.points.append(torch.empty(0, storage, dtype=torch.float64))
        state.steps.append(torch.empty(0, dof, dtype=torch.float64))
        state.held.append(torch.empty(0, dtype=torch.bool))
        return len(self._groups) - 1

    def _stage(self) -> _State:
        """A copy to change; whoever reads meanwhile reads the other."""
        if self._staged is self._state:
            self._staged = copy.copy(self._state)
            for name in ('points', 'steps', 'held', 'batches'):
                setattr(self._staged, name, list(getattr(self._state, name)))
        return self._staged

    def add_variables(self, set_: int, values: Tensor, held: Sequence[int]) -> int:
        """The row that is not finite or has no rotation, or -1."""
        values = normalized(self._groups[set_], values)
        bad = (~values.isfinite()).any(1).nonzero()[:, 0]
        if len(bad):
            return int(bad[0])
        state, hold = self._stage(), torch.zeros(len(values), dtype=torch.bool)
        hold[list(held)] = True
        state.points[set_] = torch.cat([state.points[set_], values])
        state.steps[set_] = torch.cat([state.steps[set_], values.new_zeros(len(values), self._groups[set_].dof)])
        state.held[set_] = torch.cat([state.held[set_], hold])
        return -1

    def add_factors(self, model: int, sets: Sequence[int], index: Tensor, measured: Tensor, information: Tensor,
                    weight: Tensor, kernel: int, width: float, absolute: bool) -> int:
        """Id of the first of them."""
        state = self._stage()
        for k, set_ in enumerate(sets):
            count = len(state.points[set_])
            bad = ((index[:, k] < 0) | (index[:, k] >= count)).nonzero()[:, 0]
            if len(bad):
                raise RuntimeError(f'there is no variable {int(index[bad[0], k])} among {count}')
        noise = {'kernel': RobustKernel(kernel), 'width': width, 'weight': weight if weight.numel() else None}
        names = tuple(map(str, sets))
        factors: Factors
        if model < len(_MODELS):
            factors = _MODELS[model](names[0], index, measured, information=information, **noise)
        else:
            factors = _Whitened(names, index, absolute, **noise)
        factors.check(dict(zip(map(str, range(len(self._groups))), self._groups)))
        state.batches.append(_Batch(state.count, model, factors, torch.ones(len(factors), dtype=torch.bool)))
        state.count += len(factors)
        return state.count - len(factors)

    def remove(self, ids: Tensor) -> None:
        """Take factors out that were there before this update."""
        state = self._stage()
        for id_ in ids.tolist():
            at = next((k for k, batch in enumerate(state.batches)
                       if batch.first <= id_ < batch.first + len(batch.alive)), -1)
            if at < 0 or not bool(state.batches[at].alive[id_ - state.batches[at].first]):
                raise RuntimeError(f'there is no factor {id_}')
            if id_ >= self._state.count:
                raise RuntimeError(f'factor {id_} is not yet part of the graph')
            batch = copy.copy(state.batches[at])
            batch.alive = batch.alive.clone()
            batch.alive[id_ - batch.first] = False
            state.batches[at] = batch

    def move(self, set_: int, values: Tensor) -> None:
        """Linearization points for all variables of a set."""
        state = self._stage()
        state.points[set_], state.steps[set_] = values.clone(), torch.zeros_like(state.steps[set_])
        state.moved = True

    def update(self, threshold: float, wildfire: float) -> tuple[Tensor, list[int], float]:
        """(factors that wait for `assemble`, numbers of the update, cost of the linearized factors); while factors
        wait the numbers are empty, and `finish` has to follow."""
        state = self._stage()
        if not state.moved:
            state.points = [self._estimate(k, state) for k in range(len(self._groups))]
        state.steps, state.moved = [torch.zeros_like(step) for step in state.steps], False
        waiting = [batch.ids[batch.alive] for batch in state.batches if batch.model == len(_MODELS)]
        if sum(map(len, waiting)):
            return torch.cat(waiting), [], 0.0
        return self.finish(threshold, wildfire)

    def assemble(self, ids: Tensor, r: Tensor, J: Tensor) -> None:
        """Whitened residuals (M, e) and Jacobians (M, e, D) of factors at the linearization points."""
        for at, batch in enumerate(self._staged.batches):
            rows = ids - batch.first
            some = (rows >= 0) & (rows < len(batch.alive))
            if not bool(some.any()):
                continue
            batch, factors = copy.copy(batch), copy.copy(batch.factors)
            if factors.r.shape[1:] != r.shape[1:]:
                factors.r, factors.J = r.new_zeros(len(factors), *r.shape[1:]), J.new_zeros(len(factors), *J.shape[1:])
            factors.r, factors.J = factors.r.clone(), factors.J.clone()
            factors.r[rows[some]], factors.J[rows[some]] = r[some], J[some]
            batch.factors = factors
            self._staged.batches[at] = batch

    def finish(self, threshold: float, wildfire: float) -> tuple[Tensor, list[int], float]:
        """As `update`, whose second half it is."""
        state = self._staged
        names = [str(k) for k in range(len(self._groups))]
        factors = [_alive(batch) for batch in state.batches if bool(batch.alive.any())]
        problem = Problem(dict(zip(names, self._groups)), {name: len(x) for name, x in zip(names, state.points)},
                          dict(zip(names, state.held)), factors)
        if problem.unanchored:
            return self._failed(_UNANCHORED, problem.unanchored)
        values = dict(zip(names, state.points))
        cost, _, H, g = problem.linearize(values)
        if not bool((H.values.isfinite().all() & g.isfinite().all()) & torch.tensor(cost).isfinite()):
            return self._failed(_NOT_FINITE, _first_not_finite(problem, values))
        failed = problem.cholesky.try_factorize(H)
        if failed >= 0:
            return self._failed(_NOT_POSITIVE_DEFINITE, problem.variable(failed))
        step = problem.cholesky.solve(-g)
        parts = problem.split(step) if names else {}
        state.steps = [parts[name] for name in names]
        self._state, self._problem = state, problem
        total, count = sum(map(len, state.points)), sum(map(len, factors))
        return (torch.empty(0, dtype=torch.int64), [_UPDATED, -1, -1, total, total, count, total, 1, 1],
                cost + float(g @ step))

    def _failed(self, outcome: int, variable: str) -> tuple[Tensor, list[int], float]:
        self.abandon()
        set_, index = variable.rstrip(']').split('[')
        return torch.empty(0, dtype=torch.int64), [outcome, int(set_), int(index), 0, 0, 0, 0, 0, 0], 0.0

    def abandon(self) -> None:
        """Forget what is staged."""
        self._staged = self._state

    def _estimate(self, set_: int, state: _State) -> Tensor:
        group = self._groups[set_]
        return normalized(group, group.retract(state.points[set_], state.steps[set_]))

    def values(self, set_: int, index: Tensor | None, estimate: bool) -> Tensor:
        """(M, storage) of variables of a set, of all where `index` is None; at the estimate, or where factors are
        linearized."""
        values = self._estimate(set_, self._state) if estimate else self._staged.points[set_]
        if index is None:
            return values.clone()
        bad = ((index < 0) | (index >= len(values))).nonzero()[:, 0]
        if len(bad):
            raise RuntimeError(f'there is no variable {int(index[bad[0]])} among {len(values)}')
        return values[index]

    def value(self, set_: int, index: int) -> Tensor:
        """(storage,) of one variable at the estimate."""
        return self.values(set_, torch.tensor([index]), True)[0]

    def covariance(self, sets: Sequence[int], index: Sequence[int]) -> Tensor:
        """Joint covariance of variables given by set and index, none of which is held."""
        problem, columns = self._problem, []
        for set_, k in zip(sets, index):
            count = len(self._state.points[set_])
            if problem is None or not 0 <= k < count:
                raise RuntimeError(f'there is no variable {k} among {count}')
            columns.append(problem.column[str(set_)][k] + torch.arange(self._groups[set_].dof))
        if problem is None or not columns:
            return torch.zeros(0, 0, dtype=torch.float64)
        places = torch.cat(columns)
        unit = torch.zeros(len(places), problem.dimension, dtype=torch.float64)
        unit[torch.arange(len(places)), places] = 1
        return problem.cholesky.solve(unit)[:, places]

    def factors(self, model: int, set_: int) -> tuple[Tensor, ...]:
        """Factors of one model on one set: (index, measured, information, weight, kernel, width)."""
        group, rows = self._groups[set_], []
        for batch in self._state.batches:
            if batch.model != model or batch.factors.variables[0] != str(set_):
                continue
            f, one = batch.factors, torch.ones(len(batch.factors), dtype=torch.float64)
            rows.append([x[batch.alive] for x in (
                f.index, f.measured, f.information, one if f.weight is None else f.weight,
                torch.full((len(f),), f.kernel.value), one * f.width)])
        if not rows:
            none = torch.empty(0, dtype=torch.float64)
            return (torch.empty(0, model + 1, dtype=torch.int64), none.view(0, group.storage),
                    none.view(0, group.dof, group.dof), none, torch.empty(0, dtype=torch.int64), none)
        return tuple(torch.cat(column) for column in zip(*rows))


def _alive(batch: _Batch) -> Factors:
    if bool(batch.alive.all()):
        return batch.factors
    rows = batch.alive.nonzero()[:, 0]
    part = batch.factors.select(rows)
    if isinstance(part, _Whitened):
        part.r, part.J = part.r[rows], part.J[rows]
    return part


def _first_not_finite(problem: Problem, values: dict[str, Tensor]) -> str:
    """The last variable of the first factor whose residual is not finite."""
    for factors in problem.factors:
        s = factors.r if isinstance(factors, _Whitened) else factors.squared(values)[:, None]
        bad = (~s.isfinite()).any(1).nonzero()[:, 0]
        if len(bad):
            return f'{factors.variables[-1]}[{int(factors.index[bad[0], -1])}]'
    return '0[0]'
