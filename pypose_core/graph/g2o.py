"""Pose graphs as text in g2o's format.

    VERTEX_SE3:QUAT id x y z qx qy qz qw        EDGE_SE3:QUAT i j x y z qx qy qz qw  I11 I12 ... I66
    VERTEX_SE2 id x y theta                     EDGE_SE2 i j x y theta  I11 I12 I13 I22 I23 I33
    FIX id ...

Information is the upper triangle in the order of the tangent, translation before rotation. It is taken for that of
the residual Log(Z^-1 Xi^-1 Xj), as GTSAM does; g2o itself takes it for that of [t, theta] in the plane, and of t and
the quaternion's vector part in space.
"""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .factor_graph import FactorGraph
from .factors import Between
from .file_error import GraphFileError
from .groups import SE2, SE3
from .odometry import odometry_initialization


class G2oError(GraphFileError):
    """A file that is not a pose graph; the message names file, line and fault."""


@dataclass(frozen=True)
class G2oFile:
    """What a file holds."""

    graph: FactorGraph
    """Sets 'SE2' and 'SE3', whichever the file has, and one batch of Between factors for each."""
    ids: dict[str, Tensor]
    """(N,) id of each variable in the file, ascending."""
    unknown: dict[str, tuple[int, int]]
    """Tags that were not understood: how many lines, and the first of them."""


def read_g2o(path: str | os.PathLike, *, fix_first: bool = True) -> G2oFile:
    """Read a pose graph. Comments (#) and empty lines are skipped, tags that are not known are reported.

    A file without vertices gets its poses by composing its edges.

    Args:
        path: the file.
        fix_first: where the file holds no vertex by FIX, hold the first one of each kind.

    Raises:
        G2oError: unreadable, empty, or with a line at fault, which is named: a field that is missing, too many, not
            a number or not finite; a quaternion that is not of unit length; a vertex given twice; an edge or FIX
            that names no vertex; an information matrix that is not positive semidefinite.
    """
    path = Path(path)
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise G2oError(f'{path}: {error.strerror or error}') from None
    if not len(content):
        raise G2oError(f'{path}: the file is empty')
    se2, se3, fixed, fixed_line, tags, counts, line, fault = torch.ops.pypose.graph_parse_g2o(torch.from_numpy(content))
    if line:
        raise G2oError(f'{path}:{line}: {fault}')
    unknown = {tag: tuple(count) for tag, count in zip(tags, counts.tolist())}
    graph, ids = FactorGraph(), {}
    for group, found in ((SE2, se2), (SE3, se3)):
        if len(found[0]) or len(found[3]):
            ids[group.name] = _add(graph, group, found, path)
    if not ids:
        raise G2oError(f'{path}: no vertices and no edges in it' +
                       (f', only {", ".join(sorted(unknown))}' if unknown else ''))
    for id_, where in zip(fixed.tolist(), fixed_line.tolist()):
        names = [name for name, known in ids.items() if id_ in known]
        if not names:
            raise G2oError(f'{path}:{where}: FIX names vertex {id_}, which is not there')
        for name in names:
            graph.fix(name, (ids[name] == id_).nonzero()[:, 0])
    if fix_first and not len(fixed):
        for name in ids:
            graph.fix(name, [0])
    return G2oFile(graph, ids, unknown)


def _add(graph: FactorGraph, group, found: list[Tensor], path: Path) -> Tensor:
    vertex_id, vertex_line, vertex, edge_id, edge_line, measured, information = found
    name = group.name
    if len(vertex_id):
        ids, order = vertex_id.sort(stable=True)
        twice = (ids[1:] == ids[:-1]).nonzero()[:, 0]
        if len(twice):
            at = int(vertex_line[order[twice + 1]].min())
            raise G2oError(f'{path}:{at}: vertex {int(vertex_id[vertex_line == at][0])} is given a second time')
        poses = _storage(group, vertex[order])
    else:
        ids = edge_id.unique()
        poses = torch.tensor(group.identity, dtype=torch.float64).repeat(len(ids), 1)
    index = torch.searchsorted(ids, edge_id).clamp(max=len(ids) - 1)
    missing = (ids[index] != edge_id).any(1).nonzero()[:, 0]
    if len(missing):
        k = int(missing[0])
        one = next(i for i in edge_id[k].tolist() if i not in ids)
        raise G2oError(f'{path}:{int(edge_line[k])}: the edge names vertex {one}, which is not there')
    loop = (edge_id[:, 0] == edge_id[:, 1]).nonzero()[:, 0]
    if len(loop):
        raise G2oError(f'{path}:{int(edge_line[loop[0]])}: the edge connects vertex {int(edge_id[loop[0], 0])} '
                       'with itself')
    bad = torch.ops.pypose.graph_first_indefinite(information)
    if bad >= 0:
        raise G2oError(f'{path}:{int(edge_line[bad])}: the information matrix is not positive semidefinite')
    graph.add_variables(name, group, poses)
    if len(edge_id):
        graph.add(Between(name, index, _storage(group, measured), information=information))
    if not len(vertex_id):
        odometry_initialization(graph, name)
    return ids


def _storage(group, numbers: Tensor) -> Tensor:
    """Rows of a file as values of the group."""
    if group is SE3:
        return numbers
    return torch.cat([numbers[:, :2], numbers[:, 2:].cos(), numbers[:, 2:].sin()], 1)


def write_g2o(path: str | os.PathLike, graph: FactorGraph, *, ids: dict[str, Tensor] | None = None) -> None:
    """Write the poses and Between factors of a graph; the file appears whole or not at all. Numbers are written so
    that reading gives them back exactly; held variables as FIX.

    Args:
        path: the file.
        graph: of SE2 and SE3 variables.
        ids: (N,) of each set; by default counted on over all sets, from 0.

    Raises:
        ValueError: the graph has variables or factors that the format does not know.
    """
    lines, base = [], 0
    for name, group in graph.groups.items():
        if group.name not in ('SE2', 'SE3'):
            raise ValueError(f'g2o files have no place for {name!r}, a set of {group}')
    names = {}
    for name, values in graph.values.items():
        names[name] = (torch.arange(base, base + len(values)) if ids is None else ids[name]).tolist()
        base += len(values)
        tag = 'VERTEX_SE3:QUAT' if graph.groups[name].name == 'SE3' else 'VERTEX_SE2'
        lines += [f'{tag} {i} {_numbers(row)}' for i, row in zip(names[name], _rows(graph.groups[name], values))]
        held = graph.held[name].nonzero()[:, 0].tolist()
        lines += [f'FIX {names[name][k]}' for k in held]
    for factors in graph.factors:
        if not isinstance(factors, Between):
            raise ValueError(f'g2o files have no place for {type(factors).__name__} factors')
        name = factors.variables[0]
        group = graph.groups[name]
        upper = torch.triu_indices(group.dof, group.dof)
        tag = 'EDGE_SE3:QUAT' if group.name == 'SE3' else 'EDGE_SE2'
        information = factors.information[:, upper[0], upper[1]].tolist()
        for (i, j), row, omega in zip(factors.index.tolist(), _rows(group, factors.measured), information):
            lines.append(f'{tag} {names[name][i]} {names[name][j]} {_numbers(row)} {_numbers(omega)}')
    path = Path(path)
    beside = path.with_name(path.name + '.part')
    beside.write_text('\n'.join(lines) + '\n', encoding='ascii')
    os.replace(beside, path)


def _rows(group, values: Tensor) -> list[list[float]]:
    if group.name == 'SE2':
        values = torch.cat([values[:, :2], torch.atan2(values[:, 3:], values[:, 2:3])], 1)
    return values.tolist()


def _numbers(row: list[float]) -> str:
    return ' '.join(repr(x) for x in row)
