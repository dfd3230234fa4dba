"""Pose graphs with landmarks as text in g2o's format.

    VERTEX_SE3:QUAT id x y z qx qy qz qw        EDGE_SE3:QUAT i j x y z qx qy qz qw  I11 I12 ... I66
    VERTEX_SE2 id x y theta                     EDGE_SE2 i j x y theta  I11 I12 I13 I22 I23 I33
    VERTEX_TRACKXYZ id x y z                    EDGE_SE3_TRACKXYZ i j parameter x y z  I11 I12 ... I33
    VERTEX_XY id x y                            EDGE_SE2_XY i j x y  I11 I12 I22
    FIX id ...                                  PARAMS_SE3OFFSET parameter x y z qx qy qz qw

Edges to landmarks go from a pose i and hold the landmark in the axes of that pose, or of the sensor that the parameter
puts on it. Information is the upper triangle in the order of the tangent, translation before rotation. Between poses it
is taken for that of the residual Log(Z^-1 Xi^-1 Xj), as GTSAM does; g2o itself takes it for that of [t, theta] in the
plane, and of t and the quaternion's vector part in space.
"""
import os
from pathlib import Path

import torch
from torch import Tensor

from .factor_graph import FactorGraph
from .factors import Between, Factors, Landmark
from .groups import SE3
from .pose_graph_text import G2oError, G2oFile, numbered, parse, plane_rows, refuse_others, text, upper, write_whole

VERTEX = {'SE2': 'VERTEX_SE2', 'SE3': 'VERTEX_SE3:QUAT', 'R2': 'VERTEX_XY', 'R3': 'VERTEX_TRACKXYZ'}


def read_g2o(path: str | os.PathLike, *, fix_first: bool = True) -> G2oFile:
    """Read a pose graph. Comments (#) and empty lines are skipped, tags that are not known are reported.

    A file without pose vertices gets its poses by composing its edges.

    Args:
        path: the file.
        fix_first: where the file holds no vertex by FIX, hold the first pose of each kind.

    Raises:
        G2oError: unreadable, empty, or with a line at fault, which is named: a field that is missing, too many, not
            a number or not finite; a quaternion that is not of unit length; a vertex given twice; an edge or FIX
            that names no vertex; an information matrix that is not positive semidefinite.
    """
    return parse(Path(path), toro=False, fix_first=fix_first, error=G2oError)


def write_g2o(path: str | os.PathLike, graph: FactorGraph, *, ids: dict[str, Tensor] | None = None) -> None:
    """Write the poses and landmarks of a graph with their Between and Landmark factors; the file appears whole or not
    at all. Numbers are written so that reading gives them back exactly; held variables as FIX.

    Args:
        path: the file.
        graph: of SE2, SE3, R^2 and R^3 variables.
        ids: (N,) of each set; by default counted on over all sets, from 0.

    Raises:
        ValueError: the graph has variables or factors that the format does not know.
    """
    refuse_others(graph, 'g2o', groups=tuple(VERTEX), factors=(Between, Landmark))
    names = numbered(graph, ids)
    lines = []
    for name, values in graph.values.items():
        group = graph.groups[name]
        lines += [f'{VERTEX[group.name]} {i} {text(row)}' for i, row in zip(names[name], plane_rows(group, values))]
        lines += [f'FIX {names[name][k]}' for k in graph.held[name].nonzero()[:, 0].tolist()]
    offsets: dict[tuple[float, ...], int] = {}
    for factors in graph.factors:
        lines += _edges(graph, factors, names, offsets)
    lines += [f'PARAMS_SE3OFFSET {k} {text(list(row))}' for row, k in offsets.items()]
    write_whole(path, lines)


def _edges(graph: FactorGraph, factors: Factors, names: dict[str, list[int]],
           offsets: dict[tuple[float, ...], int]) -> list[str]:
    """The lines of one batch; adds the offsets that they refer to."""
    group = graph.groups[factors.variables[0]]
    measured, parameters = factors.data['measured'], [''] * len(factors)
    if isinstance(factors, Between):
        if group.name not in ('SE2', 'SE3'):
            raise ValueError(f'g2o files have no place for Between factors of {group}')
        tag, rows = ('EDGE_SE3:QUAT' if group is SE3 else 'EDGE_SE2'), plane_rows(group, measured)
    elif group is SE3:
        body = torch.tensor([SE3.identity], dtype=torch.float64).expand(len(factors), -1)
        tag, rows = 'EDGE_SE3_TRACKXYZ', measured.tolist()
        parameters = [f'{offsets.setdefault(tuple(row), len(offsets))} '
                      for row in factors.data.get('sensor', body).tolist()]
    elif 'sensor' in factors.data:
        raise ValueError('g2o files have no place for sensors in the plane')
    else:
        tag, rows = 'EDGE_SE2_XY', measured.tolist()
    first, second = (names[name] for name in factors.variables)
    return [f'{tag} {first[i]} {second[j]} {parameter}{text(row)} {text(omega)}' for (i, j), parameter, row, omega in
            zip(factors.index.tolist(), parameters, rows, upper(factors.information))]
