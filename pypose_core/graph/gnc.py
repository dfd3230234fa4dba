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
from scipy.stats import chi2
from torch import Tensor

from .factor_graph import FactorGraph
from .factors import Factors
from .levenberg_marquardt import LevenbergMarquardt
from .result import GraphResult


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
    `odometry_initialization`. Afterwards the suspects carry weights 1 and 0, and the graph has the solution.

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
    solver = solver or LevenbergMarquardt(max_iterations=10, tolerance=1e-4)
    limits = [torch.tensor(chi2.ppf(probability, factors.residual_size), dtype=torch.float64)
              for factors in suspects]
    for factors in suspects:
        factors.weight = torch.ones(len(factors), dtype=torch.float64)
    squared = [factors.squared(graph.values) for factors in suspects]
    largest = max((float((s / c2).max()) for s, c2 in zip(squared, limits) if len(s)), default=0.0)
    mu = 1 / (2 * largest - 1) if largest > 0.5 else None
    rounds = 0
    while mu is not None and rounds < max_rounds:
        rounds += 1
        graph.optimize(solver)
        squared = [factors.squared(graph.values) for factors in suspects]
        done = True
        for factors, s, c2 in zip(suspects, squared, limits):
            weight = (c2 / s.clamp(min=1e-300) * (mu * (mu + 1))).sqrt() - mu
            factors.weight = weight.clamp(0, 1)
            done = done and bool(((factors.weight < 1e-3) | (factors.weight > 1 - 1e-3)).all())
        if done and mu > 1:
            break
        mu *= growth
    for factors in suspects:
        factors.weight = (factors.weight > 0.5).to(torch.float64)
    result = graph.optimize()
    # What was dropped on the way, while others still pulled, may fit now.
    for _ in range(max_rounds):
        kept = [(factors.squared(graph.values) <= c2).to(torch.float64) for factors, c2 in zip(suspects, limits)]
        if all(torch.equal(factors.weight, weight) for factors, weight in zip(suspects, kept)):
            break
        rounds += 1
        for factors, weight in zip(suspects, kept):
            factors.weight = weight
        result = graph.optimize()
    return GncResult(result, tuple(factors.weight > 0.5 for factors in suspects), rounds)
