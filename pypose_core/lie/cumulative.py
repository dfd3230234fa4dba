"""Cumulative operations along a dimension in a logarithmic number of steps (Hillis and Steele, 1986).

`ops(a, b)` takes the past element and the present one: result[i] = ops(... ops(ops(x0, x1), x2) ..., xi) in
any grouping, so it must be associative.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar('T', bound=Tensor)


def pm(input: Tensor) -> Tensor:
    """1 where input >= 0 and -1 elsewhere: the sign without a zero."""
    return torch.sign(torch.sign(input) * 2 + 1)


def cumops(input: T, dim: int, ops: Callable[[Tensor, Tensor], Tensor]) -> T:
    """Cumulative ops along dim, of a tensor or a LieTensor (then dim is not the last one)."""
    length = input.shape[dim]
    if hasattr(input, 'ltype') and dim % input.dim() == input.dim() - 1:
        raise ValueError('dim must not be the last dimension of a LieTensor, which is one element')
    offset = 1
    value: Any = input
    while offset < length:
        rest = length - offset
        combined = ops(value.narrow(dim, 0, rest), value.narrow(dim, offset, rest))
        value = torch.cat([value.narrow(dim, 0, offset), combined], dim)
        offset *= 2
    result: Any = value.clone() if value is input else value
    return result


def _left(multiply: Callable, left: bool) -> Callable:
    return (lambda a, b: multiply(b, a)) if left else multiply


def cummul(input: T, dim: int, left: bool = True) -> T:
    """Cumulative products with `*`: xi * ... * x1 * x0, or x0 * x1 * ... * xi if not left."""
    return cumops(input, dim, _left(lambda a, b: a * b, left))


def cumprod(input: T, dim: int, left: bool = True) -> T:
    """Cumulative products with `@`: xi @ ... @ x1 @ x0, or x0 @ x1 @ ... @ xi if not left."""
    return cumops(input, dim, _left(lambda a, b: a @ b, left))


def cumops_(input: T, dim: int, ops: Callable[[Tensor, Tensor], Tensor]) -> T:
    """cumops() in place."""
    input.copy_(cumops(input, dim, ops))
    return input


def cummul_(input: T, dim: int, left: bool = True) -> T:
    """cummul() in place."""
    input.copy_(cummul(input, dim, left))
    return input


def cumprod_(input: T, dim: int, left: bool = True) -> T:
    """cumprod() in place."""
    input.copy_(cumprod(input, dim, left))
    return input
