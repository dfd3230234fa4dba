"""What every solver of a graph does first."""
import math

from torch import Tensor

from pypose_core.linalg import BlockSparseMatrix

from .problem import Problem, Values
from .result import GraphResult, GraphStats, GraphStatus

Start = tuple[GraphStats, float, BlockSparseMatrix, Tensor]


def linearize_start(problem: Problem, values: Values) -> GraphResult | Start:
    """A result where there is nothing to iterate on; else (the statistics, cost, H, g) at the first values."""
    stats = GraphStats()
    if problem.unanchored:
        return GraphResult(dict(values), GraphStatus.UNDETERMINED, stats, problem.unanchored)
    cost, stats.chi2, H, g = problem.linearize(values)
    stats.cost.append(cost)
    if not math.isfinite(cost):
        return GraphResult(dict(values), GraphStatus.NOT_FINITE, stats)
    if problem.dimension == 0:
        return GraphResult(dict(values), GraphStatus.CONVERGED, stats)
    return stats, cost, H, g
