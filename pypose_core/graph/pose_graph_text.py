"""What the text formats of pose graphs share: a graph from parsed vertices and edges, and lines from a graph."""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .factor_graph import FactorGraph
from .factors import Between, Factors, Landmark
from .file_error import GraphFileError
from .groups import SE2, SE3, Euclidean, Group
from .odometry import odometry_initialization
from .operations import operations


class G2oError(GraphFileError):
    """A file that is not a pose graph; the message names file, line and fault."""


@dataclass(frozen=True)
class G2oFile:
    """What a file holds."""

    graph: FactorGraph
    """Sets 'SE2' and 'SE3' with a batch of Between factors each, 'XY' and 'XYZ' with a batch of Landmark factors each;
    whichever the file has."""
    ids: dict[str, Tensor]
    """(N,) id of each variable in the file, ascending."""
    unknown: dict[str, tuple[int, int]]
    """Tags that were not understood: how many lines, and the first of them."""


@dataclass(frozen=True)
class _Kind:
    """Vertices of one kind and the edges to them, as the parser gives them."""

    name: str
    group: Group
    vertex_id: Tensor
    vertex_line: Tensor
    vertex: Tensor
    edge_id: Tensor
    edge_line: Tensor
    measured: Tensor
    information: Tensor


def parse(path: Path, *, toro: bool, fix_first: bool, error: type[GraphFileError]) -> G2oFile:
    """Read a file in one of the two dialects; see read_g2o and read_toro."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as cause:
        raise error(f'{path}: {cause.strerror or cause}') from None
    if content[:3].tobytes() == b'\xef\xbb\xbf':     # how some editors begin a file of UTF-8
        content = content[3:]
    if not len(content):
        raise error(f'{path}: the file is empty')
    numbers, parameters, fixed, fixed_line, tags, counts, line, fault = operations.graph_parse_g2o(
        torch.from_numpy(content), toro)
    if line:
        raise error(f'{path}:{line}: {fault}')
    groups = (('SE2', SE2), ('SE3', SE3), ('XY', Euclidean(2)), ('XYZ', Euclidean(3)))
    kinds = [_Kind(name, group, *numbers[7 * k:7 * k + 7]) for k, (name, group) in enumerate(groups)]
    reading = _Reading(path, error)
    for kind, poses in zip(kinds, (None, None, 'SE2', 'SE3')):
        if not len(kind.vertex_id) and not len(kind.edge_id):
            continue
        if poses is None:
            reading.add_poses(kind)
        else:
            reading.add_landmarks(kind, poses, parameters)
    graph, ids = reading.graph, reading.ids
    unknown = {tag: tuple(count) for tag, count in zip(tags, counts.tolist())}
    if not ids:
        raise error(f'{path}: no vertices and no edges in it' +
                    (f', only {", ".join(sorted(unknown))}' if unknown else ''))
    for id_, where in zip(fixed.tolist(), fixed_line.tolist()):
        names = [name for name, known in ids.items() if id_ in known]
        if not names:
            raise error(f'{path}:{where}: FIX names vertex {id_}, which is not there')
        for name in names:
            graph.fix(name, (ids[name] == id_).nonzero()[:, 0])
    if fix_first and not len(fixed):
        for name in ('SE2', 'SE3'):
            if name in ids:
                graph.fix(name, [0])
    return G2oFile(graph, ids, unknown)


class _Reading:
    """The graph as it grows from one file."""

    def __init__(self, path: Path, error: type[GraphFileError]):
        self.path, self.error = path, error
        self.graph = FactorGraph()
        self.ids: dict[str, Tensor] = {}

    def add_poses(self, kind: _Kind) -> None:
        if len(kind.vertex_id):
            self._add_vertices(kind, storage(kind.group, kind.vertex))
        else:
            self.ids[kind.name] = kind.edge_id.unique()
            poses = torch.tensor(kind.group.identity, dtype=torch.float64).repeat(len(self.ids[kind.name]), 1)
            self.graph.add_variables(kind.name, kind.group, poses)
        index = torch.stack([self._index(kind, kind.name, end) for end in (0, 1)], 1)
        loop = (kind.edge_id[:, 0] == kind.edge_id[:, 1]).nonzero()[:, 0]
        if len(loop):
            self._refuse(kind.edge_line[loop[0]],
                         f'the edge connects vertex {int(kind.edge_id[loop[0], 0])} with itself')
        self._check_information(kind)
        if len(kind.edge_id):
            self.graph.add(Between(kind.name, index, storage(kind.group, kind.measured), information=kind.information))
        if not len(kind.vertex_id):
            odometry_initialization(self.graph, kind.name)

    def add_landmarks(self, kind: _Kind, poses: str, parameters: list[Tensor]) -> None:
        self._add_vertices(kind, kind.vertex)
        index = torch.stack([self._index(kind, name, end) for end, name in enumerate((poses, kind.name))], 1)
        self._check_information(kind)
        sensor = self._sensors(kind, *parameters) if kind.name == 'XYZ' and len(kind.edge_id) else None
        if len(kind.edge_id):
            self.graph.add(Landmark((poses, kind.name), index, kind.measured, information=kind.information,
                                    sensor=sensor))

    def _sensors(self, kind: _Kind, used: Tensor, known: Tensor, line: Tensor, offset: Tensor) -> Tensor | None:
        """(M, 7) pose of the sensor of each edge on its body; None where they are all the body's."""
        known, order = known.sort(stable=True)
        twice = (known[1:] == known[:-1]).nonzero()[:, 0]
        if len(twice):
            self._refuse(line[order[twice + 1]].min(), 'the parameter is given a second time')
        where = self._find(known, used)
        missing = (where < 0).nonzero()[:, 0]
        if len(missing):
            self._refuse(kind.edge_line[missing[0]], f'the edge names parameter {int(used[missing[0]])}, which is not '
                                                     'there')
        sensor = offset[order[where]]
        return None if torch.equal(sensor[:, :6], torch.zeros_like(sensor[:, :6])) else sensor

    def _add_vertices(self, kind: _Kind, values: Tensor) -> None:
        ids, order = kind.vertex_id.sort(stable=True)
        twice = (ids[1:] == ids[:-1]).nonzero()[:, 0]
        if len(twice):
            at = int(kind.vertex_line[order[twice + 1]].min())
            self._refuse(at, f'vertex {int(kind.vertex_id[kind.vertex_line == at][0])} is given a second time')
        self.ids[kind.name] = ids
        self.graph.add_variables(kind.name, kind.group, values[order])

    @staticmethod
    def _find(known: Tensor, wanted: Tensor) -> Tensor:
        """Where `wanted` is in the ascending `known`; -1 where it is not."""
        if not len(known):
            return torch.full_like(wanted, -1)
        at = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
        return torch.where(known[at] == wanted, at, -1)

    def _index(self, kind: _Kind, name: str, end: int) -> Tensor:
        wanted = kind.edge_id[:, end].contiguous()
        at = self._find(self.ids.get(name, torch.empty(0, dtype=torch.int64)), wanted)
        missing = (at < 0).nonzero()[:, 0]
        if len(missing):
            self._refuse(kind.edge_line[missing[0]],
                         f'the edge names vertex {int(wanted[missing[0]])}, which is not there')
        return at

    def _check_information(self, kind: _Kind) -> None:
        bad = operations.graph_first_indefinite(kind.information)
        if bad >= 0:
            self._refuse(kind.edge_line[bad], 'the information matrix is not positive semidefinite')

    def _refuse(self, line: Tensor | int, fault: str) -> None:
        raise self.error(f'{self.path}:{int(line)}: {fault}')


def storage(group: Group, numbers: Tensor) -> Tensor:
    """Rows of a file as values of the group."""
    if group is not SE2:
        return numbers
    return torch.cat([numbers[:, :2], numbers[:, 2:].cos(), numbers[:, 2:].sin()], 1)


def numbered(graph: FactorGraph, ids: dict[str, Tensor] | None) -> dict[str, list[int]]:
    """The id of each variable; by default counted on over all sets, from 0."""
    names, base = {}, 0
    for name, values in graph.values.items():
        names[name] = (torch.arange(base, base + len(values)) if ids is None else ids[name]).tolist()
        base += len(values)
    return names


def plane_rows(group: Group, values: Tensor) -> list[list[float]]:
    """Values as the numbers of a line: poses of the plane by their angle."""
    if group is SE2:
        values = torch.cat([values[:, :2], torch.atan2(values[:, 3:], values[:, 2:3])], 1)
    return values.tolist()


def text(row: list[float]) -> str:
    """Numbers such that reading gives them back exactly."""
    return ' '.join(repr(x) for x in row)


def upper(information: Tensor) -> list[list[float]]:
    """Upper triangles, row by row."""
    i, j = torch.triu_indices(information.shape[1], information.shape[2])
    return information[:, i, j].tolist()


def write_whole(path: str | os.PathLike, lines: list[str]) -> None:
    """The file appears whole or not at all."""
    path = Path(path)
    beside = path.with_name(path.name + '.part')
    beside.write_text('\n'.join(lines) + '\n', encoding='ascii')
    os.replace(beside, path)


def refuse_others(graph: FactorGraph, what: str, *, groups: tuple[str, ...],
                  factors: tuple[type[Factors], ...]) -> None:
    """Raise ValueError where a graph has variables or factors that a format does not know."""
    for name, group in graph.groups.items():
        if group.name not in groups:
            raise ValueError(f'{what} files have no place for {name!r}, a set of {group}')
    for batch in graph.factors:
        if not isinstance(batch, factors):
            raise ValueError(f'{what} files have no place for {type(batch).__name__} factors')
