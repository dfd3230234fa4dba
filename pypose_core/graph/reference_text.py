"""The text formats of g2o and TORO, read without the native kernels."""
import math
from collections.abc import Iterator

import torch
from torch import Tensor

_KINDS = (('SE2', 3, 3), ('SE3', 7, 6), ('XY', 2, 2), ('XYZ', 3, 3))    # name, numbers, dof of an edge
_G2O = {'VERTEX_SE2': ('SE2', 1), 'EDGE_SE2': ('SE2', 2), 'VERTEX_SE3:QUAT': ('SE3', 1), 'EDGE_SE3:QUAT': ('SE3', 2),
        'VERTEX_XY': ('XY', 1), 'EDGE_SE2_XY': ('XY', 2), 'VERTEX_TRACKXYZ': ('XYZ', 1),
        'EDGE_SE3_TRACKXYZ': ('XYZ', 2)}
_TORO = {'VERTEX': ('SE2', 1), 'VERTEX2': ('SE2', 1), 'EDGE': ('SE2', 2), 'EDGE2': ('SE2', 2), 'VERTEX3': ('SE3', 1),
         'EDGE3': ('SE3', 2)}
_TORO_PLANE = (0, 1, 4, 2, 5, 3)      # where xx, xy, xt, yy, yt, tt are in its xx, xy, yy, tt, xt, yt


class _FaultError(Exception):
    """What is wrong with a line."""


class _Fields:
    """The fields of one line, one after the other."""

    def __init__(self, words: list[str]):
        self.tag, self.words = words[0], words[1:]

    def integer(self) -> int:
        return self._next(int, 'an integer id')

    def numbers(self, count: int) -> list[float]:
        return [self._next(float, f'number {k + 1} of {count}') for k in range(count)]

    def _next(self, kind: type, wanted: str):
        found = self.words.pop(0) if self.words else ''
        try:
            value = kind(found)
        except ValueError:
            value = math.nan
        # In this order: an integer may be too large for a float to be asked about.
        if '_' in found or kind is int and abs(value) >= 2 ** 63 or not math.isfinite(value):
            found = f"'{found}'" if found else 'the end of the line'
            raise _FaultError(f'{self.tag}: wanted {wanted}, found {found}')
        return value

    def end(self) -> None:
        if self.words:
            raise _FaultError(f"{self.tag} has more fields than it should: '{self.words[0]}'")


def graph_parse_g2o(content: Tensor, toro: bool) -> tuple:
    """From the bytes of a file: for SE2, SE3, XY and XYZ [vertex ids, lines, values, edge ids, lines, measurements,
    information], one after the other; parameters of the XYZ edges, [ids, lines, offsets] of parameters; fixed ids and
    lines; unknown tags with [count, first line] each; the first line at fault or 0, and what is wrong with it."""
    found: dict[str, list[list]] = {name: [[] for _ in range(7)] for name, *_ in _KINDS}
    sizes = {name: (size, dof) for name, size, dof in _KINDS}
    used: list[int] = []
    parameters: tuple[list, ...] = [], [], []
    fixed: tuple[list[int], ...] = [], []
    unknown: dict[str, list[int]] = {}
    tags = _TORO if toro else _G2O
    text = content.numpy().tobytes().decode('latin-1')
    for line, words in _lines(text):
        fields = _Fields(words)
        try:
            if fields.tag in tags:
                name, ends = tags[fields.tag]
                size, dof = sizes[name]
                rows = found[name][:3] if ends == 1 else found[name][3:]
                ids = [fields.integer() for _ in range(ends)]
                if ends == 2 and name == 'XYZ':
                    used.append(fields.integer())
                values = _pose(fields, size, toro)
                rows[0].append(ids[0] if ends == 1 else ids)
                rows[1].append(line)
                rows[2].append(values)
                if ends == 2:
                    rows[3].append(_information(fields.numbers(dof * (dof + 1) // 2), dof, toro))
                fields.end()
            elif fields.tag == 'PARAMS_SE3OFFSET' and not toro:
                for to, value in zip(parameters, (fields.integer(), line, _pose(fields, 7, toro))):
                    to.append(value)
                fields.end()
            elif fields.tag == 'FIX' and not toro:
                fixed[0].append(fields.integer())
                fixed[1].append(line)
                while fields.words:
                    fixed[0].append(fields.integer())
                    fixed[1].append(line)
            else:
                unknown.setdefault(fields.tag, [0, line])[0] += 1
        except _FaultError as fault:
            none = torch.empty(0, dtype=torch.int64)
            return [], [], none, none, [], none, line, str(fault)
    out = []
    for name, size, dof in _KINDS:
        vertex, vertex_line, values, edge, edge_line, measured, information = found[name]
        out += [_integers(vertex), _integers(vertex_line), _numbers(values, size), _integers(edge, 2),
                _integers(edge_line), _numbers(measured, size), _numbers(information, dof, dof)]
    known = [_integers(used), _integers(parameters[0]), _integers(parameters[1]), _numbers(parameters[2], 7)]
    names = sorted(unknown)
    return (out, known, *map(_integers, fixed), names, _integers([unknown[name] for name in names], 2), 0, '')


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number, words) of the lines that say something."""
    for k, content in enumerate(text.split('\n')):
        words = content.replace('\r', ' ').split()
        if words and not words[0].startswith('#'):
            yield k + 1, words


def _integers(rows: list, *shape: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), *shape)


def _numbers(rows: list, *shape: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), *shape)


def _pose(fields: _Fields, size: int, toro: bool) -> list[float]:
    """The numbers of a variable or measurement, a quaternion made of TORO's angles or normalised."""
    if size != 7:
        return fields.numbers(size)
    if toro:
        *position, roll, pitch, yaw = fields.numbers(6)
        (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a / 2), math.cos(a / 2)) for a in (roll, pitch, yaw))
        return [*position, cy * cp * sr - sy * sp * cr, cy * sp * cr + sy * cp * sr, sy * cp * cr - cy * sp * sr,
                cy * cp * cr + sy * sp * sr]
    numbers = fields.numbers(7)
    norm = math.hypot(*numbers[3:])
    if not abs(norm - 1) < 1e-2:
        raise _FaultError(f'the quaternion has norm {norm:.6f}, not 1')
    return numbers[:3] + [x / norm for x in numbers[3:]]


def _information(upper: list[float], dof: int, toro: bool) -> list[list[float]]:
    """The full matrix from its upper triangle, row by row."""
    if toro and dof == 3:
        upper = [upper[k] for k in _TORO_PLANE]
    out, at = [[0.0] * dof for _ in range(dof)], iter(upper)
    for i in range(dof):
        for j in range(i, dof):
            out[i][j] = out[j][i] = next(at)
    return out
