"""The operations of a graph without the native kernels: slower, and of the same names, arguments and results.

What the native kernels do for one group in closed form, factors do in torch for any: `Factors.linearize`.
"""
import math
from collections import deque

import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from pypose_core.lie import se2, se3
from pypose_core.linalg import BlockPattern, SparseCholesky
from pypose_core.linalg.reference import block_slots

from .kernels import RobustKernel
from .reference_text import graph_parse_g2o

__all__ = ['block_slots', 'graph_assemble', 'graph_chain', 'graph_chordal', 'graph_components',
           'graph_first_indefinite', 'graph_first_loop', 'graph_first_not_finite', 'graph_first_not_unit',
           'graph_parse_g2o']


def graph_assemble(J: Tensor, r: Tensor, dofs: list[int], weight: Tensor, kernel: int, width: float, columns: Tensor,
                   slots: Tensor, H: Tensor, g: Tensor) -> tuple[float, float]:
    """(cost, chi2) of whitened residuals r (M, e) with Jacobians J (M, e, sum of the dofs); adds J' J to H and J' r
    to g, where columns (M, V) and slots say."""
    s = r.square().sum(1)
    given = weight if weight.numel() else torch.ones_like(s)
    with torch.enable_grad():
        scaled = (given * s).detach().requires_grad_()
        rho = RobustKernel(kernel).rho(scaled, width)
        slope, = torch.autograd.grad(rho.sum(), scaled)
    w = (given * slope)[:, None]
    blocks, pair = J.split(dofs, -1), 0
    for a, Ja in enumerate(blocks):
        free = columns[:, a] >= 0
        rows = columns[free, a, None] + torch.arange(dofs[a])
        g.index_add_(0, rows.reshape(-1), (w * (Ja.mT @ r[..., None])[..., 0])[free].reshape(-1))
        for Jb in blocks[:a + 1]:
            block, slot = w[..., None] * (Ja.mT @ Jb), slots[:, pair]
            pair += 1
            for turned in (0, 1):
                some = (slot >= 0) & (slot % 2 == turned)
                part = block[some].mT if turned else block[some]
                where = (slot[some] // 2)[:, None] + torch.arange(part.shape[1] * part.shape[2])
                H.index_add_(0, where.reshape(-1), part.reshape(-1))
    return float(rho.detach().sum()), float(s.sum())


def graph_chain(X: Tensor, known: Tensor, index: Tensor, Z: Tensor) -> tuple[Tensor, Tensor]:
    """Poses composed along a tree of the measurements from those that are known, and which were reached. Steps between
    consecutive poses are odometry and are preferred: a tree has as few others as it can."""
    lie = se3 if X.shape[1] == 7 else se2
    count = len(X)
    near: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for e, (i, j) in enumerate(index.tolist()):
        near[i].append((j, e))
        near[j].append((i, e))
    jumps = [0 if k else math.inf for k in known.tolist()]
    parent, edge, done = [-1] * count, [-1] * count, [False] * count
    queue = deque(known.nonzero()[:, 0].tolist())
    while queue:
        i = queue.popleft()
        if done[i]:
            continue
        done[i] = True
        for other, e in near[i]:
            odometry = abs(other - i) == 1
            if not done[other] and jumps[i] + (not odometry) < jumps[other]:
                jumps[other], parent[other], edge[other] = jumps[i] + (not odometry), i, e
                (queue.appendleft if odometry else queue.append)(other)
    before, by = torch.tensor(parent), torch.tensor(edge)
    reached = before >= 0
    step, some = X.clone(), by[reached]
    forward = (index[some, 1] == reached.nonzero()[:, 0])[:, None]
    step[reached] = torch.where(forward, Z[some], lie.inv(Z[some]))
    while bool((before >= 0).any()):      # each pose relative to an ever earlier one, twice as far each time
        below = before >= 0
        step = torch.where(below[:, None], lie.mul(step[before.clamp(min=0)], step), step)
        before = torch.where(below, before[before.clamp(min=0)], -1)
    return torch.where((known | reached)[:, None], step, X), known | reached


def graph_chordal(X: Tensor, held: Tensor, index: Tensor, Z: Tensor, information: Tensor) -> Tensor:
    """Poses by chordal initialization, see chordal.py; the held ones stay."""
    d = 3 if X.shape[1] == 7 else 2
    diagonal = information.diagonal(dim1=-2, dim2=-1)
    R_T = _matrices(X).mT.contiguous()
    R_T = _relaxed(R_T, held, index, -_matrices(Z).mT, torch.zeros(len(Z), d, d, dtype=X.dtype),
                   diagonal[:, d:].mean(1).clamp(min=1e-12))
    turned = torch.where(held[:, None], X[:, d:], _nearest(R_T.mT))
    out = torch.cat([X[:, :d], turned], 1)
    b = -(_matrices(out)[index[:, 0]] @ Z[:, :d, None])
    A = -torch.ones(len(Z), 1, 1, dtype=X.dtype)
    position = _relaxed(X[:, None, :d], held, index, A, b.mT, diagonal[:, :d].mean(1).clamp(min=1e-12))
    return torch.cat([position[:, 0], turned], 1)


def _matrices(X: Tensor) -> Tensor:
    """(N, d, d) rotations of poses."""
    return (se3 if X.shape[1] == 7 else se2).matrix(X)[:, :-1, :-1]


def _nearest(M: Tensor) -> Tensor:
    """The rotations nearest to (N, d, d), as quaternions or cosine and sine."""
    if M.shape[-1] == 2:
        c, s = M[:, 0, 0] + M[:, 1, 1], M[:, 1, 0] - M[:, 0, 1]
        size = torch.hypot(c, s)
        safe = torch.where(size > 0, size, 1)
        return torch.stack([torch.where(size > 0, c / safe, 1), s / safe], 1)
    # Davenport's q-method: the eigenvector of the largest eigenvalue
    skew = torch.stack([M[:, 2, 1] - M[:, 1, 2], M[:, 0, 2] - M[:, 2, 0], M[:, 1, 0] - M[:, 0, 1]], 1)
    trace = M.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    K = torch.cat([torch.cat([M + M.mT - trace * torch.eye(3, dtype=M.dtype), skew[:, :, None]], 2),
                   torch.cat([skew[:, None, :], trace], 2)], 1)
    return torch.linalg.eigh(K).eigenvectors[..., -1]


def _relaxed(x: Tensor, held: Tensor, index: Tensor, A: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """min sum w |x_j + A x_i + b|^2 over the rows of x (N, d, c) that are not held; A (M, d, d) orthogonal."""
    free = (~held).nonzero()[:, 0]
    if not len(free):
        return x
    d, c = A.shape[-1], x.shape[-1]
    x = x.reshape(len(x), d, c)
    start = torch.where(held[:, None, None], x, 0)
    block = torch.full((len(x),), -1)
    block[free] = torch.arange(len(free))
    i, j = block[index].unbind(1)
    both = (i >= 0) & (j >= 0)
    pattern = BlockPattern(torch.full((len(free),), d), torch.stack([i, j], 1)[both])
    H, g = pattern.zeros(), torch.zeros(len(free), d, c, dtype=x.dtype)
    r = w[:, None, None] * (b + start[index[:, 1]] + A @ start[index[:, 0]])
    eye = torch.eye(d, dtype=x.dtype)
    for end, gradient in ((i, A.mT @ r), (j, r)):
        some = end >= 0
        H.add_blocks(end[some][:, None].expand(-1, 2), w[some][:, None, None] * eye)
        g.index_add_(0, end[some], gradient[some])
    H.add_blocks(torch.stack([j, i], 1)[both], w[both][:, None, None] * A[both])
    solver = SparseCholesky(pattern)
    if solver.try_factorize(H) >= 0:
        raise RuntimeError('the measurements leave a pose undetermined')
    solution = solver.solve(-g.reshape(-1, c).mT.contiguous()).mT.reshape(len(free), d, c)
    out = x.clone()
    out[free] = solution
    return out


def graph_components(nodes: int, edges: Tensor) -> Tensor:
    """For each of `nodes` nodes, the smallest node that it is connected with by edges (E, 2)."""
    if not nodes:
        return torch.empty(0, dtype=torch.int64)
    i, j = edges.numpy().T
    links = coo_matrix((torch.ones(len(edges)).numpy(), (i, j)), shape=(nodes, nodes))
    part = torch.from_numpy(connected_components(links, directed=False)[1]).to(torch.int64)
    first = torch.full((nodes,), nodes).scatter_reduce(0, part, torch.arange(nodes), 'amin')
    return first[part]


def graph_first_indefinite(matrices: Tensor) -> int:
    """The first matrix of a batch (M, d, d) that is not symmetric positive semidefinite, or -1."""
    if not matrices.numel():
        return -1
    size = matrices.diagonal(dim1=-2, dim2=-1).abs().amax(1)
    even = ((matrices - matrices.mT).abs().amax((1, 2)) <= 1e-6 * size)     # a NaN is not
    safe = torch.where(even[:, None, None], matrices, 0.0)
    bad = (~even | (torch.linalg.eigvalsh(safe)[:, 0] < -1e-9 * size)).nonzero()[:, 0]
    return int(bad[0]) if len(bad) else -1


def graph_first_not_finite(x: Tensor) -> int:
    """The first row of x (M, ...) that has an infinity or a NaN, or -1."""
    bad = (~x.isfinite()).nonzero()
    return int(bad[0, 0]) if len(bad) else -1


def graph_first_not_unit(x: Tensor, begin: int, end: int) -> int:
    """The first row of x (M, S) whose numbers from `begin` to `end` have not the norm 1, or -1."""
    bad = (~((x[:, begin:end].square().sum(1) - 1).abs() <= 1e-12)).nonzero()[:, 0]
    return int(bad[0]) if len(bad) else -1


def graph_first_loop(index: Tensor, a: int, b: int) -> int:
    """The first factor of index (M, V) whose positions a and b are the same variable, or -1."""
    loops = (index[:, a] == index[:, b]).nonzero()[:, 0]
    return int(loops[0]) if len(loops) else -1
