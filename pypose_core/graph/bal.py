"""Bundle adjustment problems as text in the format of "Bundle Adjustment in the Large".

    cameras points observations
    camera point x y                        for each observation, pixels
    r1 r2 r3 t1 t2 t3 f k1 k2               for each camera, one number a line: rotation vector and translation of
                                            T_camera_world, focal length, radial distortion
    x y z                                   for each point, one number a line
"""
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pypose_core.lie import se3, so3

from .factor_graph import FactorGraph
from .factors import BalReprojection
from .file_error import GraphFileError
from .groups import SE3, Euclidean
from .kernels import RobustKernel
from .pose_graph_text import write_whole


def read_bal(path: str | os.PathLike, *, fix_first: bool = True, kernel: RobustKernel = RobustKernel.NONE,
             width: float = 1.0) -> FactorGraph:
    """Read a bundle adjustment problem: sets 'pose' (T_world_camera in SE3), 'camera' ([f, k1, k2]) and 'point'.

    Args:
        path: the file.
        fix_first: hold the first pose. The scale stays free, which damping takes care of.
        kernel, width: robust kernel of the observations and its width, pixels.

    Raises:
        GraphFileError: unreadable, a field that is not a finite number, too few or too many of them, or an
            observation that names no camera or point; with the line.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise GraphFileError(f'{path}: {error.strerror or error}') from None
    fields = text.split()
    try:
        numbers = np.array(fields, dtype=np.float64)
    except ValueError:
        bad = next(k for k, field in enumerate(fields) if not _is_number(field))
        raise _fault(path, text, bad, f'{fields[bad].decode(errors="replace")!r} is not a number') from None
    infinite = np.flatnonzero(~np.isfinite(numbers))
    if len(infinite):
        raise _fault(path, text, int(infinite[0]), 'the number is not finite')
    counts = numbers[:3]
    if len(counts) < 3 or (counts % 1 != 0).any() or (counts < 0).any() or (counts > 2 ** 53).any():
        raise GraphFileError(f'{path}:1: wanted the numbers of cameras, points and observations')
    cameras, points, observations = numbers[:3].astype(np.int64).tolist()
    wanted = 3 + 4 * observations + 9 * cameras + 3 * points
    if len(numbers) != wanted:
        raise _fault(path, text, min(len(numbers), wanted + 1) - 1,
                     f'{cameras} cameras, {points} points and {observations} observations take {wanted} numbers; '
                     f'there are {len(numbers)}')
    seen, lens, point = np.split(numbers[3:], [4 * observations, 4 * observations + 9 * cameras])
    seen, camera = seen.reshape(-1, 4), torch.from_numpy(lens.reshape(-1, 9))
    wrong = np.flatnonzero(((seen[:, :2] % 1 != 0) | (seen[:, :2] < 0) | (seen[:, :2] >= [cameras, points])).any(1))
    if len(wrong):
        raise _fault(path, text, 3 + 4 * int(wrong[0]), 'the observation names a camera or point that is not there')
    graph = FactorGraph()
    graph.add_variables('pose', SE3, se3.inv(torch.cat([camera[:, 3:6], so3.exp(camera[:, :3])], 1)))
    graph.add_variables('camera', Euclidean(3), camera[:, 6:])
    graph.add_variables('point', Euclidean(3), torch.from_numpy(point.reshape(-1, 3)))
    index = torch.from_numpy(seen[:, [0, 0, 1]]).to(torch.int64)
    graph.add(BalReprojection(('pose', 'camera', 'point'), index, torch.from_numpy(seen[:, 2:]), kernel=kernel,
                              width=width))
    if fix_first and cameras:
        graph.fix('pose', [0])
    return graph


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _fault(path: Path, text: bytes, field: int, what: str) -> GraphFileError:
    """The error about a field, counted from the start of the file; finds its line."""
    starts = np.cumsum([0] + [len(content.split()) for content in text.splitlines()])
    line = int(np.searchsorted(starts, field, side='right'))
    return GraphFileError(f'{path}:{max(line, 1)}: {what}')


def write_bal(path: str | os.PathLike, graph: FactorGraph) -> None:
    """Write the observations, cameras and points of a graph; the file appears whole or not at all. Numbers are written
    so that reading gives them back exactly.

    Raises:
        ValueError: the graph has other factors, or poses that share a camera.
    """
    factors = graph.factors
    if len(factors) != 1 or not isinstance(factors[0], BalReprojection):
        raise ValueError('BAL files hold one batch of BalReprojection factors and nothing else')
    pose, lens, point = (graph.values[name] for name in factors[0].variables)
    index = factors[0].index
    if len(lens) != len(pose) or not torch.equal(index[:, 0], index[:, 1]):
        raise ValueError('BAL files have one camera for each pose: pose i with camera i')
    T = se3.inv(pose)
    camera = torch.cat([so3.log(T[:, 3:]), T[:, :3], lens], 1)
    lines = [f'{len(pose)} {len(point)} {len(index)}']
    lines += [f'{c} {p} {x!r} {y!r}' for (c, _, p), (x, y) in zip(index.tolist(), factors[0].measured.tolist())]
    lines += _column(camera) + _column(point)
    write_whole(path, lines)


def _column(x: Tensor) -> list[str]:
    return [repr(value) for value in x.reshape(-1).tolist()]
