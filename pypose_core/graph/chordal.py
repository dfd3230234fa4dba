"""Chordal initialization: rotations as the nearest to a linear least-squares solution, then positions.

    min sum w |R_j - R_i R_ij|^2 over matrices, projected onto rotations;   then
    min sum w |t_j - t_i - R_i t_ij|^2.

Both are sparse linear systems of the graph's own pattern, with several right sides: blocks of d x d, shared by the
d rows of the rotations, and scalars, shared by the coordinates. Source: Carlone, Tron, Daniilidis, Dellaert,
"Initialization techniques for 3D SLAM: a survey on rotation estimation and its use in pose graph optimization",
ICRA 2015.
"""
import torch
from torch import Tensor

from .factor_graph import FactorGraph
from .operations import operations
from .relative_poses import relative_poses


def chordal_initialization(graph: FactorGraph, name: str) -> None:
    """Set the poses of a set from its Between measurements alone, whatever their values were.

    Held poses stay. Where a part of the graph has none, its first pose stays. Weights are the mean diagonal entries
    of the rotational and the translational information.

    Args:
        graph: changed in place.
        name: a set of SE2 or SE3 variables.

    Raises:
        ValueError: the set is not of poses.
    """
    index, measured, information = relative_poses(graph, name)
    if not len(index):
        return
    held = graph.held[name] | _first_of_loose_parts(graph.held[name], index)
    graph.set_values(name, operations.graph_chordal(graph.values[name], held, index, measured, information))


def _first_of_loose_parts(held: Tensor, index: Tensor) -> Tensor:
    """(N,) bool: the first variable of each part of the graph in which none is held."""
    first = operations.graph_components(len(held), index)
    loose = torch.ones_like(held)
    loose[first[held]] = False
    return loose & (first == torch.arange(len(held)))
