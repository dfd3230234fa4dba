"""Products of block-sparse matrices in the layouts of torch."""
from __future__ import annotations

import torch
from torch import Tensor

__all__ = ['bsr_bsc_matmul']


def bsr_bsc_matmul(bsr: Tensor, bsc: Tensor) -> Tensor:
    """The product of a row-compressed and a column-compressed block matrix, row-compressed.

    Args:
        bsr: (m, n) with blocks (a, b), torch.sparse_bsr.
        bsc: (n, p) with blocks (b, c), torch.sparse_bsc.

    Returns:
        (m, p) with blocks (a, c), torch.sparse_bsr; blocks that are met are stored, also where they come out zero.
        Differentiable by the blocks' values.
    """
    if bsr.layout != torch.sparse_bsr or bsc.layout != torch.sparse_bsc:
        raise ValueError(f'a sparse_bsr and a sparse_bsc matrix are wanted, got {bsr.layout} and {bsc.layout}')
    if bsr.dim() != 2 or bsc.dim() != 2 or bsr.shape[1] != bsc.shape[0]:
        raise ValueError(f'cannot multiply {tuple(bsr.shape)} and {tuple(bsc.shape)}')
    left, right = bsr.values(), bsc.values()
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f'blocks of {tuple(left.shape[1:])} and {tuple(right.shape[1:])} do not match')
    rows = _expanded(bsr.crow_indices())
    inner_left, inner_right = bsr.col_indices(), bsc.row_indices()
    columns = _expanded(bsc.ccol_indices())
    # Each block on the left meets all on the right with its column as their row.
    order = inner_right.argsort(stable=True)
    sizes = torch.bincount(inner_right, minlength=bsr.shape[1] // left.shape[-1])
    starts = sizes.cumsum(0) - sizes
    count = sizes[inner_left]
    of_left = torch.arange(len(count), device=count.device).repeat_interleave(count)
    within = torch.arange(len(of_left), device=count.device) - (count.cumsum(0) - count)[of_left]
    of_right = order[starts[inner_left[of_left]] + within]
    width = bsc.shape[1] // right.shape[-1]
    cell, place = torch.unique(rows[of_left] * width + columns[of_right], return_inverse=True)
    products = left[of_left] @ right[of_right]
    values = torch.zeros(len(cell), *products.shape[1:], dtype=products.dtype, device=products.device)
    values = values.index_add(0, place, products)
    height = bsr.shape[0] // left.shape[-2]
    crow = torch.nn.functional.pad(torch.bincount(cell // width, minlength=height).cumsum(0), (1, 0))
    return torch.sparse_bsr_tensor(crow, cell % width, values, (bsr.shape[0], bsc.shape[1]), check_invariants=False)


def _expanded(pointers: Tensor) -> Tensor:
    """The row of each stored block from compressed pointers."""
    return torch.arange(len(pointers) - 1, device=pointers.device).repeat_interleave(pointers.diff())
