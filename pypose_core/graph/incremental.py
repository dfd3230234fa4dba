"""Factor graphs that grow while they are solved."""
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pypose_core import native

from .factor_graph import FactorGraph
from .factors import EMPTY, Between, Factors, Prior
from .groups import NAV_STATE, SE2, SE3, Group
from .incremental_reference import ReferenceGraph
from .incremental_result import IncrementalConfig, IncrementalStats, IncrementalStatus, IncrementalUpdate
from .kernels import RobustKernel
from .levenberg_marquardt import LevenbergMarquardt
from .result import GraphResult

_STATUS = (IncrementalStatus.UPDATED, IncrementalStatus.UNDETERMINED, IncrementalStatus.NOT_POSITIVE_DEFINITE,
           IncrementalStatus.NOT_FINITE)
_PRIOR, _BETWEEN, _EXTERNAL = range(3)


class IncrementalGraph:
    """A factor graph with an estimate that follows its growth, with bounded work for each update.

        graph = IncrementalGraph({'pose': SE3})
        graph.update([Prior('pose', [0], start)], {'pose': start[None]})
        done = graph.update([Between('pose', [[k, k + 1]], odometry, information=Omega)], {'pose': guess[None]})
        graph.value('pose', k + 1), graph.covariance('pose', k + 1), done.status, done.stats.affected

    Variables are numbered within their set in the order in which they come; factors are named by the ids that
    `update` returns. Only variables that have moved far are linearized anew, and only the part of the factorization
    that new factors or new linearizations touch is redone. One thread may update while others read. Without the native
    kernels every update is a step of Gauss-Newton on the whole graph.

    Args:
        groups: the kind of variables of each set: SE2, SE3, NAV_STATE or Euclidean.
        config: accuracy against work.

    Raises:
        ValueError: there are no such sets.

    Source: Kaess, Johannsson, Roberts, Ila, Leonard, Dellaert, "iSAM2: Incremental smoothing and mapping using the
    Bayes tree", IJRR 31, 2012.
    """

    def __init__(self, groups: Mapping[str, Group], config: IncrementalConfig | None = None):
        self.groups = dict(groups)
        self.config = config or IncrementalConfig()
        self._handle = torch.classes.pypose.IncrementalGraph() if native.available else ReferenceGraph()
        self._set = {name: self._handle.add_set(_manifold(name, group), group.storage, group.dof, *_rotation(group))
                     for name, group in self.groups.items()}
        self._count = dict.fromkeys(self.groups, 0)
        self._held: dict[str, list[int]] = {name: [] for name in self.groups}
        self._external: dict[int, tuple[Factors, int]] = {}     # factors that torch linearizes: batch and row
        self._factor_count = 0

    @classmethod
    def from_graph(cls, graph: FactorGraph, config: IncrementalConfig | None = None) -> 'IncrementalGraph':
        """The same variables and factors, at the graph's values.

        Raises:
            ValueError: the graph has groups that are not known here, or is singular.
        """
        grown = cls(graph.groups, config)
        held = {name: held.nonzero()[:, 0] for name, held in graph.held.items()}
        done = grown.update(graph.factors, graph.values, held=held)
        if not done.status.ok:
            raise ValueError(str(done))
        return grown

    def update(self, new_factors: Sequence[Factors] = (), new_values: Mapping[str, Tensor] | None = None, *,
               held: Mapping[str, Sequence[int] | Tensor] | None = None,
               remove: Sequence[int] | Tensor = ()) -> IncrementalUpdate:
        """Add variables and factors, remove factors, and make a step of Gauss-Newton where it matters.

        Without arguments it is one more step, in which variables that the last one moved far are linearized anew.

        Args:
            new_factors: batches as for FactorGraph; their index counts the variables of the set from its first.
            new_values: first guesses (n, storage) of the variables that each set gains.
            held: which of the new variables stay at their values.
            remove: ids of factors.

        Returns:
            The status, ids of the new factors and numbers of the work. Where the status is not ok, the graph is as
            it was before.

        Raises:
            ValueError: something does not fit; the graph is as it was before.
        """
        start = time.perf_counter()
        handle, thresholds = self._handle, (self.config.relinearize_threshold, self.config.wildfire_threshold)
        external: dict[int, tuple[Factors, int]] = {}
        gone = torch.as_tensor(remove, dtype=torch.int64).reshape(-1) if len(remove) else EMPTY
        try:
            grown = self._stage_variables(new_values or {}, held or {})
            ids = tuple(self._stage_factors(factors, external) for factors in new_factors)
            if gone.numel():
                with _mistakes():
                    handle.remove(gone)
            waiting, numbers, cost = handle.update(*thresholds)
            if waiting.numel():
                for some, r, J in self._whitened(waiting.tolist(), self._external | external, estimate=False):
                    handle.assemble(some, r, J)
                _, numbers, cost = handle.finish(*thresholds)
        except BaseException:
            handle.abandon()
            raise
        outcome, set_, index, affected, relinearized, linearized, solved, new_cliques, cliques = numbers
        status, detail = _STATUS[outcome], ''
        if status.ok:
            for name, (self._count[name], some) in grown.items():
                self._held[name] += some
            self._external |= external
            for id_ in gone.tolist():
                self._external.pop(id_, None)
            self._factor_count += sum(some.numel() for some in ids) - gone.numel()
        else:
            ids, detail = (), f'{list(self.groups)[set_]}[{index}]'
        return IncrementalUpdate(status, ids, IncrementalStats(
            affected, relinearized, linearized, solved, new_cliques, cliques, sum(self._count.values()),
            self._factor_count, cost, time.perf_counter() - start), detail)

    def _stage_variables(self, new_values: Mapping[str, Tensor],
                         held: Mapping[str, Sequence[int] | Tensor]) -> dict[str, tuple[int, list[int]]]:
        """Returns for each set how many variables it will have, and which of the new ones are held."""
        staged = {}
        for name, values in new_values.items():
            group = self._group(name)
            if type(values) is not Tensor or values.requires_grad or values.dtype != torch.float64:
                values = torch.as_tensor(values).as_subclass(Tensor).detach().to(torch.float64)
            if values.dim() != 2 or values.shape[1] != group.storage:
                raise ValueError(f'{name!r} needs values of shape (n, {group.storage}), got {tuple(values.shape)}')
            some = held.get(name, ())
            some = some.tolist() if isinstance(some, Tensor) else [int(k) for k in some]
            first, end = self._count[name], self._count[name] + values.shape[0]
            if some and not first <= min(some) <= max(some) < end:
                raise ValueError(f'only new variables can be held, {name}[{first}:{end}]; got {some}')
            bad = self._handle.add_variables(self._set[name], values, [k - first for k in some])
            if bad >= 0:
                raise ValueError(f'{name}[{first + bad}] is not finite, or has a rotation of norm 0')
            staged[name] = end, some
        for name in held:
            if name not in new_values:
                raise ValueError(f'only new variables can be held, and {name!r} has none')
        return staged

    def _stage_factors(self, factors: Factors, external: dict[int, tuple[Factors, int]]) -> Tensor:
        """(M,) ids; notes in `external` the factors that torch linearizes."""
        for name in factors.variables:
            self._group(name)
        factors.check(self.groups)
        model = _EXTERNAL
        if type(factors) in (Prior, Between) and factors.groups[0] is not NAV_STATE:
            model = _PRIOR if type(factors) is Prior else _BETWEEN
        data = (factors.data['measured'], factors.information) if model != _EXTERNAL else (EMPTY.view(0, 0),
                                                                                   EMPTY.view(0, 0, 0))
        weight = EMPTY if factors.weight is None else factors.weight
        with _mistakes():
            first = self._handle.add_factors(
                model, [self._set[name] for name in factors.variables], factors.index, *data, weight,
                factors.kernel.value, factors.width, factors.absolute)
        if model == _EXTERNAL:
            external.update((first + row, (factors, row)) for row in range(len(factors)))
        return torch.arange(first, first + len(factors))

    def _whitened(self, ids: Sequence[int], external: Mapping[int, tuple[Factors, int]], *,
                  estimate: bool):
        """Yields (ids, r (M, e), J (M, e, dof)) for factors that torch linearizes, batch by batch."""
        batches: dict[int, tuple[Factors, list[int], list[int]]] = {}
        for id_ in ids:
            factors, row = external[id_]
            _, some, rows = batches.setdefault(id(factors), (factors, [], []))
            some.append(id_)
            rows.append(row)
        for factors, some, rows in batches.values():
            part = factors.select(torch.tensor(rows))
            x = [self._handle.values(self._set[name], part.index[:, k].contiguous(), estimate)
                 for k, name in enumerate(part.variables)]
            r, J = part.whitened(x, jacobian=True)
            yield torch.tensor(some), r, J

    def _group(self, name: str) -> Group:
        if name not in self.groups:
            raise ValueError(f'there are no variables {name!r}; there are {sorted(self.groups)}')
        return self.groups[name]

    def count(self, name: str) -> int:
        """Variables of a set."""
        self._group(name)
        return self._count[name]

    def values(self, name: str) -> Tensor:
        """(N, storage) present estimate of all variables of a set."""
        self._group(name)
        return self._handle.values(self._set[name], None, True)

    def value(self, name: str, index: int) -> Tensor:
        """(storage,) present estimate of one variable; its cost does not depend on the size of the graph."""
        self._group(name)
        with _mistakes():
            return self._handle.value(self._set[name], index)

    def covariance(self, name: str, index: int) -> Tensor:
        """(dof, dof) marginal covariance of one variable in its tangent, at the linearization points; zero where it is
        held. It costs a solve with the fronts between the variable and the root, which for the newest are few."""
        return self.joint((name, index))

    def joint(self, *variables: tuple[str, int]) -> Tensor:
        """(D, D) joint covariance of some variables, as ('pose', 3); D is the sum of their dofs."""
        for name, _ in variables:
            self._group(name)
        free = [(name, k) for name, k in variables if k not in self._held[name]]
        with _mistakes():
            inner = self._handle.covariance([self._set[name] for name, _ in free], [k for _, k in free])
        if len(free) == len(variables):
            return inner
        dofs = [self.groups[name].dof for name, _ in variables]
        rows = torch.tensor([(name, k) in free for name, k in variables]).repeat_interleave(torch.tensor(dofs))
        out = torch.zeros(sum(dofs), sum(dofs), dtype=torch.float64)
        out[rows.nonzero(), rows.nonzero()[:, 0]] = inner
        return out

    def cost(self) -> float:
        """Sum of rho(r' Omega r) over all factors at the estimate."""
        return self.factor_graph().cost()

    def chi2(self) -> float:
        """Sum of r' Omega r over all factors at the estimate, without kernels and weights."""
        return self.factor_graph().chi2()

    def factor_graph(self) -> FactorGraph:
        """A FactorGraph of the same variables, at the estimate, and of the same factors."""
        graph = FactorGraph()
        for name, group in self.groups.items():
            graph.add_variables(name, group, self.values(name))
            graph.fix(name, self._held[name])
            for model, kind in ((_PRIOR, Prior), (_BETWEEN, Between)):
                self._add_alike(graph, name, model, kind)
        batches: dict[int, tuple[Factors, list[int]]] = {}
        for factors, row in self._external.values():
            batches.setdefault(id(factors), (factors, []))[1].append(row)
        for factors, rows in batches.values():
            graph.add(factors.select(torch.tensor(rows)))
        return graph

    def _add_alike(self, graph: FactorGraph, name: str, model: int, kind: type[Prior] | type[Between]) -> None:
        """The factors that are linearized natively, a batch for each robust kernel."""
        index, measured, information, weight, kernel, width = self._handle.factors(model, self._set[name])
        forms = torch.stack([kernel.to(torch.float64), width], 1)
        for form in forms.unique(dim=0):
            rows = (forms == form).all(1)
            graph.add(kind(name, index[rows], measured[rows], information=information[rows], weight=weight[rows],
                           kernel=RobustKernel(int(form[0])), width=float(form[1])))

    def batch_optimize(self, solver: LevenbergMarquardt | None = None) -> GraphResult:
        """Optimize everything at once from the present estimate, and go on from there: linearized anew, ordered anew.

        Args:
            solver: as for `FactorGraph.optimize`.
        """
        result = self.factor_graph().optimize(solver)
        for name, values in result.value.items():
            self._handle.move(self._set[name], values)
        done = self.update()
        if not done.status.ok:
            raise RuntimeError(str(done))
        return result

    def __repr__(self) -> str:
        sets = ', '.join(f'{self.count(name)} {name} in {group}' for name, group in self.groups.items())
        return f'IncrementalGraph({sets}; {self._factor_count} factors)'


@contextmanager
def _mistakes():
    """What the native kernels refuse is the caller's mistake."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(str(error).split('\n')[0]) from None


def _rotation(group: Group) -> tuple[int, int]:
    """Where in a value the rotation begins and ends."""
    return (0, 0) if group.rotation is None else (group.rotation.start, group.rotation.stop)


def _manifold(name: str, group: Group) -> int:
    if group in (SE2, SE3, NAV_STATE):
        return (SE2, SE3, NAV_STATE).index(group)
    if group.name == f'R{group.dof}':
        return 3
    raise ValueError(f'incremental graphs know SE2, SE3, NAV_STATE and Euclidean variables; {name!r} is of {group}')
