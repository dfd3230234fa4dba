"""Symmetric matrices of small dense blocks, most of which are zero."""
from functools import cached_property

import torch
from torch import Tensor

from .operations import operations


class BlockPattern:
    """Where a symmetric block matrix has blocks; of each pair (i, j), (j, i) only the lower one is stored.

    Args:
        sizes: (n,) scalar rows of each block row, at least 1.
        couplings: (P, 2) pairs of coupled blocks, in any order, repeated or not. The diagonal is always there.

    Raises:
        RuntimeError: a size is not positive, or a pair names no block.
    """

    def __init__(self, sizes: Tensor, couplings: Tensor):
        self.sizes = torch.as_tensor(sizes, dtype=torch.int64)
        self.handle = operations.block_pattern(
            self.sizes, torch.as_tensor(couplings, dtype=torch.int64).reshape(-1, 2))
        self.rows, self.columns, self.begin = operations.block_pattern_layout(self.handle)

    @property
    def blocks(self) -> int:
        """n, the number of block rows."""
        return len(self.sizes)

    @cached_property
    def starts(self) -> Tensor:
        """(n + 1,) scalar row where each block row starts; the last is the dimension."""
        return torch.cat([self.sizes.new_zeros(1), self.sizes.cumsum(0)])

    @property
    def dimension(self) -> int:
        """Scalar rows of the matrix."""
        return int(self.starts[-1])

    @property
    def value_count(self) -> int:
        """Entries of the stored blocks."""
        return int(self.begin[-1])

    def offsets(self, pairs: Tensor) -> Tensor:
        """(P,) where block (i, j), i >= j, starts in the values, row-major; -1 where the pattern has none."""
        return operations.block_offsets(self.handle, pairs)

    def zeros(self) -> 'BlockSparseMatrix':
        """The zero matrix of this pattern."""
        return BlockSparseMatrix(self, torch.zeros(self.value_count, dtype=torch.float64))

    def __repr__(self) -> str:
        return f'BlockPattern({self.blocks} block rows, {len(self.rows)} blocks, dimension {self.dimension})'


class BlockSparseMatrix:
    """Values on a pattern. Of a diagonal block only the lower triangle counts.

    Args:
        pattern: where the blocks are.
        values: (pattern.value_count,) float64, the stored blocks by columns, each row-major.
    """

    def __init__(self, pattern: BlockPattern, values: Tensor):
        if values.shape != (pattern.value_count,) or values.dtype != torch.float64:
            raise ValueError(f'values must be float64 of shape ({pattern.value_count},), got {values.dtype} '
                             f'{tuple(values.shape)}')
        self.pattern, self.values = pattern, values

    def add_blocks(self, pairs: Tensor, blocks: Tensor) -> 'BlockSparseMatrix':
        """Add blocks (P, a, b) at the places (P, 2), in place; a place above the diagonal is stored transposed.

        All blocks of one call have one shape. Places that repeat add up. At a place on the diagonal the
        symmetric block is given whole.
        """
        upper = pairs[:, 0] < pairs[:, 1]
        for chosen, turned in ((~upper, False), (upper, True)):
            if not bool(chosen.any()):
                continue
            some, block = pairs[chosen], blocks[chosen]
            if turned:
                some, block = some.flip(1), block.mT
            wanted = torch.stack([self.pattern.sizes[some[:, 0]], self.pattern.sizes[some[:, 1]]], 1)
            if bool((wanted != torch.tensor(block.shape[1:])).any()):
                raise ValueError(f'blocks of {tuple(blocks.shape[1:])} do not fit the sizes of all their places')
            offset = self.pattern.offsets(some)
            if bool((offset < 0).any()):
                missing = some[(offset < 0).nonzero()[0, 0]].tolist()
                raise ValueError(f'the pattern has no block {tuple(missing)}')
            size = block.shape[1] * block.shape[2]
            where = offset[:, None] + torch.arange(size)
            self.values.index_add_(0, where.reshape(-1), block.reshape(-1).to(torch.float64))
        return self

    def block(self, i: int, j: int) -> Tensor:
        """Block (i, j); for i < j the transposed view of block (j, i)."""
        if i < j:
            return self.block(j, i).mT
        offset = int(self.pattern.offsets(torch.tensor([[i, j]]))[0])
        height, width = int(self.pattern.sizes[i]), int(self.pattern.sizes[j])
        if offset < 0:
            return self.values.new_zeros(height, width)
        return self.values[offset:offset + height * width].view(height, width)

    def __matmul__(self, x: Tensor) -> Tensor:
        """A x for x (dimension,)."""
        return operations.block_multiply(self.pattern.handle, self.values, x)

    def to_dense(self) -> Tensor:
        """(dimension, dimension), for small matrices and tests."""
        A = torch.zeros(self.pattern.dimension, self.pattern.dimension, dtype=torch.float64)
        starts, sizes = self.pattern.starts.tolist(), self.pattern.sizes.tolist()
        for i, j in zip(self.pattern.rows.tolist(), self.pattern.columns.tolist()):
            block = self.block(i, j)
            if i == j:
                block = block.tril() + block.tril(-1).mT
            A[starts[i]:starts[i] + sizes[i], starts[j]:starts[j] + sizes[j]] = block
            A[starts[j]:starts[j] + sizes[j], starts[i]:starts[i] + sizes[i]] = block.mT
        return A

    def __repr__(self) -> str:
        return f'BlockSparseMatrix({self.pattern!r})'
