"""The largest set of mutually connected nodes of an undirected graph."""
import torch
from torch import Tensor


def largest_clique(adjacency: Tensor, *, max_nodes: int = 20_000) -> tuple[list[int], bool]:
    """A largest clique by branch and bound, with a greedy colouring as the bound: n colours hold no clique of n + 1.

    Args:
        adjacency: (n, n) bool, symmetric; the diagonal does not count.
        max_nodes: branches visited at most. The first ones are greedy: what is found by then is rarely much smaller.

    Returns:
        The clique, ascending, and whether it is proven to be a largest one.

    Source: Tomita and Seki, "An efficient branch-and-bound algorithm for finding a maximum clique", 2003.
    """
    n = len(adjacency)
    if n == 0:
        return [], True
    # Nodes renumbered by falling degree: the colouring meets the well connected ones first.
    order = (adjacency & ~torch.eye(n, dtype=torch.bool)).sum(1).argsort(descending=True, stable=True)
    near = [_bits(row) & ~(1 << k) for k, row in enumerate(adjacency[order][:, order])]
    best: list[int] = []
    visited = 0
    # (clique so far, candidates in the order of their colours with the colours)
    stack: list[tuple[list[int], list[tuple[int, int]], int]] = [([], _coloured((1 << n) - 1, near), (1 << n) - 1)]
    while stack and visited < max_nodes:
        clique, candidates, left = stack[-1]
        if not candidates or len(clique) + candidates[-1][1] <= len(best):
            stack.pop()
            continue
        visited += 1
        node, _ = candidates.pop()
        left &= ~(1 << node)
        stack[-1] = (clique, candidates, left)
        grown, rest = [*clique, node], left & near[node]
        if len(grown) > len(best):
            best = grown
        if rest:
            stack.append((grown, _coloured(rest, near), rest))
    return sorted(order[best].tolist()), not stack


def _bits(row: Tensor) -> int:
    return sum(1 << k for k in row.nonzero()[:, 0].tolist())


def _coloured(nodes: int, near: list[int]) -> list[tuple[int, int]]:
    """(node, colour) by rising colour, neighbours in different ones."""
    out, colour = [], 0
    while nodes:
        colour += 1
        free = nodes
        while free:
            node = (free & -free).bit_length() - 1
            out.append((node, colour))
            nodes &= ~(1 << node)
            free &= ~(near[node] | 1 << node)
    return out
