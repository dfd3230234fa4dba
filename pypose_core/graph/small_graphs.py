"""Graphs that fall apart into many small ones: each is solved for itself, with a damping of its own.

Parts of the same structure are analysed once and solved several at a time, in the lanes of the processor's vectors,
and stay in its caches from the first to the last iteration.
"""
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pypose_core import native

from .factors import EMPTY, Between, Factors, Prior
from .groups import SE2, SE3
from .result import GraphResult, GraphStats, GraphStatus, PartStats

if TYPE_CHECKING:
    from .factor_graph import FactorGraph
    from .levenberg_marquardt import LevenbergMarquardt

LARGEST_PART = 64
"""Poses; larger ones fill the caches, and their Jacobians are worth a sparse solver."""
FEWEST_PARTS = 8
"""Of the graph, below which nothing is gained."""
_STATUS = (GraphStatus.CONVERGED, GraphStatus.ITERATION_LIMIT, GraphStatus.NO_DECREASE,
           GraphStatus.NOT_POSITIVE_DEFINITE, GraphStatus.NOT_FINITE)


def solve_small_parts(graph: 'FactorGraph', solver: 'LevenbergMarquardt') -> GraphResult | None:
    """Levenberg-Marquardt on each part of a graph of poses in one set, with priors and relative measurements.

    Returns:
        The result, with `stats.parts`; None where the graph is of another kind, has fewer than FEWEST_PARTS parts, or
        has a part of more than LARGEST_PART poses or without a gauge.
    """
    if not native.available or not _suitable(graph.factors) or len(graph.groups) != 1:
        return None
    (name, group), = graph.groups.items()
    X = graph.values[name]
    if group not in (SE2, SE3) or len(X) < FEWEST_PARTS or sum(map(len, graph.factors)) > LARGEST_PART * len(X):
        return None
    numbers, costs, X = torch.ops.pypose.graph_small_parts(
        X, graph.held[name], [f.index for f in graph.factors], [f.data['measured'] for f in graph.factors],
        [f.information for f in graph.factors], [EMPTY if f.weight is None else f.weight for f in graph.factors],
        [f.kernel.value for f in graph.factors], [f.width for f in graph.factors], LARGEST_PART, solver.max_iterations,
        [solver.tolerance, solver.absolute_tolerance, solver.initial_damping, solver.max_damping])
    if len(numbers) < FEWEST_PARTS:
        return None
    first, status, iterations, failed = numbers.unbind(1)
    bad = (status != 0).nonzero()[:, 0]
    worst, detail = GraphStatus.CONVERGED, ''
    if len(bad):
        k = int(bad[0])
        worst, detail = _STATUS[int(status[k])], f'{name}[{int(failed[k] if failed[k] >= 0 else first[k])}]'
    parts = PartStats(first, tuple(_STATUS[k] for k in status.tolist()), iterations, costs[:, 1], costs[:, 2])
    stats = GraphStats(int(iterations.max()), costs[:, :2].sum(0).tolist(), float(costs[:, 2].sum()), parts)
    return GraphResult({name: X}, worst, stats, detail)


def _suitable(factors: Sequence[Factors]) -> bool:
    return bool(factors) and all(type(f) in (Prior, Between) for f in factors)
