"""Pose graphs as text in TORO's format.

    VERTEX2 id x y theta                        EDGE2 i j x y theta  I11 I12 I22 I33 I13 I23
    VERTEX3 id x y z roll pitch yaw             EDGE3 i j x y z roll pitch yaw  I11 I12 ... I66

VERTEX and EDGE are read as VERTEX2 and EDGE2. Rotations are Rz(yaw) Ry(pitch) Rx(roll). Information is taken for that
of the residual Log(Z^-1 Xi^-1 Xj): TORO's angles agree with it to first order about a measurement without rotation.
"""
import os
from pathlib import Path

import torch
from torch import Tensor

from pypose_core.lie import so3

from .factor_graph import FactorGraph
from .factors import Between
from .file_error import GraphFileError
from .groups import SE2, Group
from .pose_graph_text import G2oFile, numbered, parse, plane_rows, refuse_others, text, upper, write_whole


def read_toro(path: str | os.PathLike, *, fix_first: bool = True) -> G2oFile:
    """Read a pose graph; as read_g2o.

    Raises:
        GraphFileError: as there.
    """
    return parse(Path(path), toro=True, fix_first=fix_first, error=GraphFileError)


def write_toro(path: str | os.PathLike, graph: FactorGraph, *, ids: dict[str, Tensor] | None = None) -> None:
    """Write the poses and Between factors of a graph; the file appears whole or not at all. The format has no
    place for which variables are held.

    Args:
        path: the file.
        graph: of SE2 and SE3 variables.
        ids: (N,) of each set; by default counted on over all sets, from 0.

    Raises:
        ValueError: the graph has variables or factors that the format does not know.
    """
    refuse_others(graph, 'TORO', groups=('SE2', 'SE3'), factors=(Between,))
    names = numbered(graph, ids)
    lines = []
    for name, values in graph.values.items():
        group = graph.groups[name]
        tag = 'VERTEX2' if group is SE2 else 'VERTEX3'
        lines += [f'{tag} {i} {text(row)}' for i, row in zip(names[name], _rows(group, values))]
    for factors in graph.factors:
        name = factors.variables[0]
        plane = graph.groups[name] is SE2
        for (i, j), row, omega in zip(factors.index.tolist(), _rows(graph.groups[name], factors.data['measured']),
                                      upper(factors.information)):
            omega = [omega[k] for k in (0, 1, 3, 5, 2, 4)] if plane else omega
            lines.append(f'{"EDGE2" if plane else "EDGE3"} {names[name][i]} {names[name][j]} {text(row)} {text(omega)}')
    write_whole(path, lines)


def _rows(group: Group, values: Tensor) -> list[list[float]]:
    if group is SE2:
        return plane_rows(group, values)
    return torch.cat([values[:, :3], so3.euler(values[:, 3:])], 1).tolist()
