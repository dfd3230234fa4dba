"""Block patterns as scalar sparse matrices, the form that other libraries' solvers take."""
from typing import Protocol

import torch
from torch import Tensor


class Pattern(Protocol):
    """Of a BlockPattern and of its reference."""
    @property
    def sizes(self) -> Tensor: ...
    @property
    def rows(self) -> Tensor: ...
    @property
    def columns(self) -> Tensor: ...
    @property
    def starts(self) -> Tensor: ...
    @property
    def dimension(self) -> int: ...


def scalar_places(pattern: Pattern) -> tuple[Tensor, Tensor]:
    """(value_count,) scalar row and (value_count,) scalar column of each of a pattern's values."""
    height, width = pattern.sizes[pattern.rows], pattern.sizes[pattern.columns]
    area = height * width
    block = torch.repeat_interleave(torch.arange(len(area)), area)
    within = torch.arange(int(area.sum())) - torch.repeat_interleave(area.cumsum(0) - area, area)
    return (pattern.starts[pattern.rows][block] + within // width[block],
            pattern.starts[pattern.columns][block] + within % width[block])


def lower_csr(pattern: Pattern) -> tuple[Tensor, Tensor, Tensor]:
    """The scalar lower triangle of a pattern, row by row.

    Returns:
        (dimension + 1,) int32 where each row starts, (nnz,) int32 columns, ascending in each row, and (nnz,) int64
        which of the pattern's values each entry is.
    """
    row, column = scalar_places(pattern)
    lower = column <= row
    row, column, source = row[lower], column[lower], lower.nonzero()[:, 0]
    order = (row * pattern.dimension + column).argsort()
    counts = torch.bincount(row, minlength=pattern.dimension)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return starts.to(torch.int32), column[order].to(torch.int32), source[order]
