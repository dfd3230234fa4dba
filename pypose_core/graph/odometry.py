"""Initial poses by composing measurements along a spanning tree."""

from .factor_graph import FactorGraph
from .operations import operations
from .relative_poses import relative_poses


def odometry_initialization(graph: FactorGraph, name: str) -> None:
    """Set the poses of a set by composing its Between measurements outwards from the held ones.

    Steps between consecutive poses are taken for odometry and preferred; others only bridge what these leave
    apart. Where a part of the graph has no held pose, its first one keeps its value.

    Args:
        graph: changed in place.
        name: a set of SE2 or SE3 variables.

    Raises:
        ValueError: the set is not of poses.
    """
    index, measured, _ = relative_poses(graph, name)
    X, reached = operations.graph_chain(graph.values[name], graph.held[name], index, measured)
    while not bool(reached.all()):
        reached[(~reached).nonzero()[0]] = True
        X, reached = operations.graph_chain(X, reached, index, measured)
    graph.set_values(name, X)
