"""Measurements that agree with each other, though not with the estimate.

Two measurements Z_a of (i, j) and Z_b of (k, l) between neighbours, k near i and l near j, close a loop with the two
short ways i-k and j-l. Where the estimate is right along these, though the one is far off from the other,

    r = Log(Z_b^-1 X_k^-1 X_i Z_a X_j^-1 X_l)

is small if both measurements are right. False ones hardly ever agree in all of a pose. `consistent_closures` compares
all pairs along the odometry and weighs its noise; here neighbours alone, along an estimate.
"""
import torch
from torch import Tensor

from .factors import Between
from .operations import operations


def consistent_sets(factors: Between, values: dict[str, Tensor], candidates: Tensor, *, limit: float,
                    reach: int = 3) -> Tensor:
    """Which of some measurements agree with at least one other among them.

    Args:
        factors: measurements between variables of one set, that `check` has seen.
        values: the estimate.
        candidates: (M,) bool, the measurements in question.
        limit: of r' Omega r; the ways between add to the noise, so that it is to be some times that of a measurement.
        reach: neighbours are at most that many variables apart, at both ends.

    Returns:
        (M,) int, the first of its set for each candidate that agrees with others, -1 for all other measurements.
    """
    X, group = values[factors.variables[0]], factors.groups[0]
    some = candidates.nonzero()[:, 0]
    order = some[torch.argsort(factors.index[some, 0], stable=True)]
    index, pairs = factors.index[order], []
    for apart in range(1, len(order)):      # in the order of their first ends, neighbours are near
        near = (index[apart:, 0] - index[:-apart, 0]) <= reach
        if not bool(near.any()):
            break
        near &= (index[apart:, 1] - index[:-apart, 1]).abs() <= reach
        a = near.nonzero()[:, 0]
        pairs.append(torch.stack([a, a + apart], 1))
    out = torch.full((len(factors),), -1)
    a, b = torch.cat(pairs or [torch.empty(0, 2, dtype=torch.int64)]).unbind(1)
    i, j, k, l = (X[index[rows, end]] for rows in (a, b) for end in (0, 1))
    Z, one = factors.measured[order], torch.tensor(group.identity, dtype=X.dtype)
    left = group.relative(group.relative(i, k), Z[a])                         # X_k^-1 X_i Z_a
    r = group.difference(Z[b], group.relative(group.relative(left, one), group.relative(j, l)))
    s = (r[:, None, :] @ factors.information[order[b]] @ r[..., None])[:, 0, 0]
    agree = s <= limit
    edges = torch.stack([order[a[agree]], order[b[agree]]], 1)
    first = operations.graph_components(len(factors), edges)
    members = edges.reshape(-1).unique()
    out[members] = first[members]
    return out
