"""Chordal initialization: rotations as the nearest to a linear least-squares solution, then positions.

    min sum w |R_j - R_i R_ij|^2 over matrices, projected onto rotations;   then
    min sum w |t_j - t_i - R_i t_ij|^2.

Both are sparse linear systems with several right sides and the graph's own pattern: blocks of d x d shared by the
d rows of all rotations, and scalars shared by the coordinates. Source: Carlone, Tron, Daniilidis, Dellaert,
"Initialization techniques for 3D SLAM: a survey on rotation estimation and its use in pose graph optimization",
ICRA 2015.
"""
import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from pypose_core.lie import so2, so3
from pypose_core.linalg import BlockPattern, SparseCholesky

from .factor_graph import FactorGraph
from .factors import Between


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
    group = graph.groups[name]
    if group.name not in ('SE2', 'SE3'):
        raise ValueError(f'{name!r} is a set of {group}, not of poses')
    batches = [f for f in graph.factors if isinstance(f, Between) and f.variables[0] == name]
    if not batches:
        return
    d = 3 if group.name == 'SE3' else 2
    index = torch.cat([f.index for f in batches])
    measured = torch.cat([f.measured for f in batches])
    precision = torch.cat([f.information.diagonal(dim1=1, dim2=2) for f in batches])
    held = graph.held[name].clone()
    held[_first_of_loose_parts(held, index)] = True
    if bool(held.all()):
        return
    X = graph.values[name]
    matrix = so3.matrix if d == 3 else so2.matrix
    relaxed = _Relaxation(held, index)

    # The rows of R_j - R_i R_ij, as columns: R_j^T - R_ij^T R_i^T, with one right side for each.
    R, Z = matrix(X[:, d:]), matrix(measured[:, d:])
    weight = precision[:, d:].mean(1).clamp(min=1e-12)
    R_relaxed = relaxed.solve(-Z.mT, torch.zeros(len(index), d, d, dtype=torch.float64), R.mT, weight).mT
    if d == 3:
        rotation = torch.ops.pypose.graph_nearest_rotations(R_relaxed.contiguous())
        rotation[held] = X[held, 3:]
        R = so3.matrix(rotation)
    else:   # the nearest to [[a, b], [c, e]] turns by atan2(c - b, a + e)
        rotation = torch.stack([R_relaxed[:, 0, 0] + R_relaxed[:, 1, 1], R_relaxed[:, 1, 0] - R_relaxed[:, 0, 1]], 1)
        rotation = torch.nn.functional.normalize(rotation, dim=1)
        rotation[held] = X[held, 2:]
        R = so2.matrix(rotation)

    step = (R[index[:, 0]] @ measured[:, :d, None])[..., 0]
    weight = precision[:, :d].mean(1).clamp(min=1e-12)
    minus = -torch.ones(len(index), 1, 1, dtype=torch.float64)
    t = relaxed.solve(minus, -step[:, None], X[:, None, :d], weight)[:, 0]
    graph.set_values(name, torch.cat([t, rotation], 1))


class _Relaxation:
    """min sum w |x_j + A_ij x_i + b_ij|^2 over x of the variables that are not held, A_ij orthogonal, x of several
    columns each; one elimination order for all."""

    def __init__(self, held: Tensor, index: Tensor):
        self._free = (~held).nonzero()[:, 0]
        self._block = torch.full((len(held),), -1)
        self._block[self._free] = torch.arange(len(self._free))
        self._ends = self._block[index]
        self._index = index
        self._order: Tensor | None = None

    def solve(self, A: Tensor, b: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """A (M, d, d), b (M, d, c), values x (N, d, c) of which those held count, weight (M,); returns all x."""
        d, c, n = x.shape[1], x.shape[2], len(self._free)
        i, j = self._ends.unbind(1)
        both = (i >= 0) & (j >= 0)
        pattern = BlockPattern(torch.full((n,), d), self._ends[both])
        H = pattern.zeros()
        degree = torch.zeros(n, dtype=torch.float64)
        for end in (i, j):
            degree.index_add_(0, end[end >= 0], weight[end >= 0])
        self_pairs = torch.arange(n)[:, None].expand(n, 2)
        H.add_blocks(self_pairs, degree[:, None, None] * torch.eye(d, dtype=torch.float64))
        H.add_blocks(torch.stack([j, i], 1)[both], (weight[:, None, None] * A)[both])
        # The gradient at x = 0 of the free ones and the values of those held.
        fixed = torch.where((self._block >= 0)[:, None, None], 0.0, x)
        r = fixed[self._index[:, 1]] + A @ fixed[self._index[:, 0]] + b
        r = weight[:, None, None] * r
        g = torch.zeros(n, d, c, dtype=torch.float64)
        g.index_add_(0, j[j >= 0], r[j >= 0])
        g.index_add_(0, i[i >= 0], (A.mT @ r)[i >= 0])
        cholesky = SparseCholesky(pattern, order=self._order)
        self._order = cholesky.order
        solution = cholesky.factorize(H).solve(-g.permute(2, 0, 1).reshape(c, n * d))
        out = x.clone()
        out[self._free] = solution.reshape(c, n, d).permute(1, 2, 0)
        return out


def _first_of_loose_parts(held: Tensor, index: Tensor) -> Tensor:
    """The first variable of each part of the graph in which none is held."""
    i, j = index.numpy().T
    graph = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(held), len(held)))
    parts, part = connected_components(graph, directed=False)
    safe = np.zeros(parts, dtype=bool)
    safe[part[held.numpy()]] = True
    _, first = np.unique(part, return_index=True)
    return torch.from_numpy(first[~safe])

