"""Batched products of vectors and matrices."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.lie.dispatch import plain


def bvv(lvec: Tensor, rvec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Outer products: (..., n), (..., m) -> (..., n, m)."""
    return torch.matmul(plain(lvec).unsqueeze(-1), plain(rvec).unsqueeze(-2), out=out)


def bmv(mat: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix times vector: (..., n, m), (..., m) -> (..., n)."""
    mat, vec = plain(mat), plain(vec)
    if mat.dim() < 2 or vec.dim() < 1 or mat.shape[-1] != vec.shape[-1]:
        raise ValueError(f'cannot multiply matrices {tuple(mat.shape)} and vectors {tuple(vec.shape)}')
    product = torch.matmul(mat, vec.unsqueeze(-1), out=out)
    return product.squeeze_(-1) if out is not None else product.squeeze(-1)


def bvmv(lvec: Tensor, mat: Tensor, rvec: Tensor) -> Tensor:
    """lᵀ M r: (..., n), (..., n, m), (..., m) -> (...), at least one-dimensional."""
    lvec, mat, rvec = plain(lvec), plain(mat), plain(rvec)
    if mat.dim() < 2 or lvec.shape[-1:] != mat.shape[-2:-1] or mat.shape[-1:] != rvec.shape[-1:]:
        raise ValueError(f'cannot multiply {tuple(lvec.shape)}, {tuple(mat.shape)} and {tuple(rvec.shape)}')
    return torch.atleast_1d((lvec.unsqueeze(-2) @ mat @ rvec.unsqueeze(-1)).squeeze(-1).squeeze(-1))
