"""Graduated non-convexity: outliers found by solving a sequence of weighted problems.

The truncated least squares cost min(s, c^2) of a suspect factor, s = r' Omega r, is approached by surrogates of
growing non-convexity mu; each is a weighted least squares problem with

    w = 0                                    where s >= (mu + 1) / mu c^2
        c / sqrt(s) sqrt(mu (mu + 1)) - mu   between
        1                                    where s <= mu / (mu + 1) c^2.

Source: Yang, Antonante, Tzoumas, Carlone, "Graduated non-convexity for robust spatial perception", RA-L 2020, (13).
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core import chi_square

from .factor_graph import FactorGraph
from .factors import Between, Factors
from .levenberg_marquardt import LevenbergMarquardt
from .neighbour_agreement import consistent_sets
from .result import GraphResult

MOST_PROPOSALS = 10
"""Sets of dropped measurements that get a second look, each at the price of an optimization; the largest ones."""


@dataclass(frozen=True)
class GncResult:
    """What graduated non-convexity found."""

    result: GraphResult
    """The last optimization, with the suspects' final weights."""
    inliers: tuple[Tensor, ...]
    """(M,) bool for each batch of suspects: which factors are kept."""
    rounds: int
    """Weighted problems solved."""


def solve_robustly(graph: FactorGraph, suspects: Sequence[Factors], *, probability: float = 0.99,
                   growth: float = 1.4, max_rounds: int = 100, solver: LevenbergMarquardt | None = None) -> GncResult:
    """Optimize a graph in which some of the suspect factors may be wrong.

    The graph's other factors are trusted: start from values that they alone determine, for a pose graph
    `odometry_initialization`. Dropped measurements that agree with each other get a second look. Afterwards the
    suspects carry weights 1 and 0, and the graph has the solution.

    Args:
        graph: its values are the start.
        suspects: batches of the graph, without robust kernels.
        probability: with which a right measurement's s is below c^2, by the chi-square distribution.
        growth: of mu from round to round.
        max_rounds: limit of the weighted rounds; weights are then rounded. It also limits the rounds after them, in
            which factors below c^2 are kept and others not, until these are the same ones.
        solver: of the rounds; by default Levenberg-Marquardt to 1e-4. The last problem is solved to the end.

    Raises:
        ValueError: a batch is not of the graph, or has a kernel.
    """
    for factors in suspects:
        if not any(factors is other for other in graph.factors):
            raise ValueError('a batch of suspects is not in the graph')
        if factors.kernel.value:
            raise ValueError('suspects must have no robust kernel: graduated non-convexity is one')
    search = _Search(graph, suspects, probability)
    search.anneal(growth, max_rounds, solver or LevenbergMarquardt(max_iterations=10, tolerance=1e-4))
    search.settle(max_rounds)
    while search.second_look(max_rounds):
        pass
    return GncResult(search.result, tuple(_weight(factors) > 0.5 for factors in suspects), search.rounds)


def _weight(factors: Factors) -> Tensor:
    """(M,) of suspects: a `_Search` has given each batch its weights."""
    assert factors.weight is not None
    return factors.weight


class _Search:
    """The steps of `solve_robustly`; the suspects' weights are its state, beside the values of the graph."""

    def __init__(self, graph: FactorGraph, suspects: Sequence[Factors], probability: float):
        self.graph, self.suspects, self.rounds = graph, suspects, 0
        self.limits = [torch.tensor(chi_square.quantile(probability, factors.residual_size), dtype=torch.float64)
                       for factors in suspects]
        for factors in suspects:
            factors.weight = torch.ones(len(factors), dtype=torch.float64)

    def squared(self) -> list[Tensor]:
        return [factors.squared(self.graph.values) for factors in self.suspects]

    def optimize(self, solver: LevenbergMarquardt | None = None) -> GraphResult:
        """Optimize without the factors of weight 0: false ones couple anything with anything, and a factorization with
        them among the others costs ten times as much."""
        dropped = [factors for factors in self.suspects if not bool(_weight(factors).all())]
        if not dropped:
            return self.graph.optimize(solver)
        part = FactorGraph()
        part.groups, part.held, part.values = self.graph.groups, self.graph.held, self.graph.values
        part.factors = [factors.select(_weight(factors).nonzero()[:, 0]) if any(factors is other for other in dropped)
                        else factors for factors in self.graph.factors]
        result = part.optimize(solver)
        self.graph.values = part.values
        result.stats.chi2 = sum(float(factors.squared(self.graph.values).sum()) for factors in self.graph.factors)
        return result

    def anneal(self, growth: float, max_rounds: int, solver: LevenbergMarquardt) -> None:
        """From the convex surrogate to the truncated one, then weights 1 and 0."""
        largest = max((float((s / c2).max()) for s, c2 in zip(self.squared(), self.limits) if len(s)), default=0.0)
        mu = 1 / (2 * largest - 1) if largest > 0.5 else None
        while mu is not None and self.rounds < max_rounds:
            self.rounds += 1
            self.optimize(solver)
            done = True
            for factors, s, c2 in zip(self.suspects, self.squared(), self.limits):
                weight = (c2 / s.clamp(min=1e-300) * (mu * (mu + 1))).sqrt() - mu
                factors.weight = weight.clamp(0, 1)
                done = done and bool(((factors.weight < 1e-3) | (factors.weight > 1 - 1e-3)).all())
            if done and mu > 1:
                break
            mu *= growth
        for factors in self.suspects:
            factors.weight = (_weight(factors) > 0.5).to(torch.float64)

    def settle(self, max_rounds: int) -> None:
        """Optimize, keep what is below c^2 and nothing else, until that is what was kept already."""
        self.result = self.optimize()
        for _ in range(max_rounds):      # what was dropped on the way, while others still pulled, may fit now
            kept = [(s <= c2).to(torch.float64) for s, c2 in zip(self.squared(), self.limits)]
            if all(torch.equal(_weight(factors), weight) for factors, weight in zip(self.suspects, kept)):
                break
            self.rounds += 1
            for factors, weight in zip(self.suspects, kept):
                factors.weight = weight
            self.result = self.optimize()
        self.cost = self.result.stats.cost[-1] + sum(float((1 - _weight(factors)).sum() * c2)
                                                     for factors, c2 in zip(self.suspects, self.limits))

    def second_look(self, max_rounds: int) -> bool:
        """Take dropped measurements back that agree with each other, if that lowers the truncated cost: surrogates
        can lead to a minimum in which parts of the graph lie wrong, and what would put them right is dropped."""
        sets = [(factors, consistent_sets(factors, self.graph.values, _weight(factors) < 0.5, limit=4 * float(c2)))
                for factors, c2 in zip(self.suspects, self.limits) if isinstance(factors, Between)]
        together = [(factors, first >= 0) for factors, first in sets if bool((first >= 0).any())]
        singles = [[(factors, first == k)] for factors, first in sets for k in first[first >= 0].unique().tolist()]
        singles = sorted(singles, key=lambda proposal: -int(proposal[0][1].sum()))[:MOST_PROPOSALS]
        for proposal in ([together] if together else []) + (singles if len(singles) > 1 else []):
            before = self.graph.values, [factors.weight for factors in self.suspects], self.cost, self.result
            for factors, back in proposal:
                factors.weight = torch.where(back, 1.0, _weight(factors))
            self.settle(max_rounds)
            if self.cost < before[2]:
                return True
            self.graph.values, weights, self.cost, self.result = before
            for factors, weight in zip(self.suspects, weights):
                factors.weight = weight
        return False
