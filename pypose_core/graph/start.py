"""What every solver of a graph does first."""
import math

from torch import Tensor

from pypose_core.linalg import BlockSparseMatrix

from .problem import Problem, Values
from .result import GraphResult, GraphStats, GraphStatus

Start = tuple[GraphResult | None, GraphStats, float, BlockSparseMatrix | None, Tensor | None]


def linearize_start(problem: Problem, values: Values) -> Start:
    """(a result where there is nothing to iterate on, the statistics, cost, H, g) at the first values."""
    stats = GraphStats()
    if problem.unanchored:
        return (GraphResult(dict(values), GraphStatus.UNDETERMINED, stats, problem.unanchored), stats, math.nan, None,
                None)
    cost, stats.chi2, H, g = problem.linearize(values)
    stats.cost.append(cost)
    ended = None
    if not math.isfinite(cost):
        ended = GraphResult(dict(values), GraphStatus.NOT_FINITE, stats)
    elif problem.dimension == 0:
        ended = GraphResult(dict(values), GraphStatus.CONVERGED, stats)
    return ended, stats, cost, H, g
