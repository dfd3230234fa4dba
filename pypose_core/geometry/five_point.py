"""The essential matrices that five matches allow."""
from __future__ import annotations

from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from pypose_core.geometry.homogeneous import cart2homo

X, Y, Z, ONE = range(4)
LOWER = [(X, X, ONE), (X, Y, ONE), (X, Z, ONE), (Y, Y, ONE), (Y, Z, ONE), (Z, Z, ONE), (X, ONE, ONE), (Y, ONE, ONE),
         (Z, ONE, ONE), (ONE, ONE, ONE)]
"""Monomials of degree two and less, as products of three of x, y, z, 1: the basis in which x is multiplied."""
CUBIC = [m for m in combinations_with_replacement(range(4), 3) if m not in LOWER]
MONOMIALS = CUBIC + LOWER
REAL = 1e-7
"""Imaginary part of a root, beside its size, up to which it is taken for real."""


def five_point(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """All real E with b̃ᵀ E ã = 0 at five matches, det E = 0 and 2 E Eᵀ E = tr(E Eᵀ) E.

    E = x E₁ + y E₂ + z E₃ + E₄ with a basis of what the five linear equations leave; the ten cubic ones give each
    monomial of degree three by those below it, and so the matrix of the multiplication by x, whose eigenvectors hold
    x, y, z. Points may lie in a plane.

    Args:
        a, b: (..., 5, 2) on the planes z = 1 of the first and second camera.

    Returns:
        E (..., 10, 3, 3) with singular values 1, 1, 0, and which of them are solutions (..., 10).

    Source: Stewénius, Engels and Nistér, Recent developments on direct relative orientation, ISPRS 2006.
    """
    if a.shape[-2:] != (5, 2) or a.shape != b.shape:
        raise ValueError(f'five matches are wanted, got {tuple(a.shape)} and {tuple(b.shape)}')
    with torch.no_grad():
        rows = (cart2homo(b).unsqueeze(-1) * cart2homo(a).unsqueeze(-2)).flatten(-2)
        basis = torch.linalg.svd(rows).Vh[..., 5:, :].unflatten(-1, (3, 3)).movedim(-3, -1)    # (..., 3, 3, 4)
        C = _constraints(basis)
        known, singular = torch.linalg.solve_ex(C[..., :10], C[..., 10:])
        known = torch.where(singular[..., None, None] == 0, known, torch.zeros_like(known)).nan_to_num(0.0, 0.0, 0.0)
        values, vectors = torch.linalg.eig(_times_x(known))
        real = values.imag.abs() <= REAL * (1 + values.abs())
        last = vectors[..., 9, :]
        # Of a monomial vector the last four entries are x, y, z, 1.
        xyz1 = torch.where(last.abs().unsqueeze(-2) > 0, vectors[..., 6:, :] / last.unsqueeze(-2), 0).real
        E = torch.einsum('...rci,...in->...nrc', basis, xyz1)
        U, S, Vh = torch.linalg.svd(E)
        good = real & E.isfinite().all((-2, -1)) & (S[..., 1] > 0) & (singular.unsqueeze(-1) == 0)
        return U[..., :2] @ Vh[..., :2, :], good


def _constraints(basis: Tensor) -> Tensor:
    """Coefficients (..., 10, 20) of MONOMIALS in the ten cubic equations."""
    squares = torch.einsum('...rci,...scj->...rsij', basis, basis)
    trace = torch.einsum('...qqij->...ij', squares)
    cubic = 2 * torch.einsum('...rsij,...sck->...rcijk', squares, basis) \
        - torch.einsum('...ij,...rck->...rcijk', trace, basis)
    determinant = torch.einsum('...ri,...rjk->...ijk', basis[..., 0, :, :], _crossed(basis))
    both = torch.cat([cubic.flatten(-5, -4), determinant.unsqueeze(-4)], -4).flatten(-3)
    return both @ _collapse(basis)


def _crossed(basis: Tensor) -> Tensor:
    """Cross products (..., 3, 4, 4) of the second row with the third, for each pair of the basis."""
    second, third = basis[..., 1, :, :, None], basis[..., 2, :, None, :]
    return torch.stack([second[..., (r + 1) % 3, :, :] * third[..., (r + 2) % 3, :, :]
                        - second[..., (r + 2) % 3, :, :] * third[..., (r + 1) % 3, :, :] for r in range(3)], -3)


def _collapse(like: Tensor) -> Tensor:
    """(64, 20): which monomial each product of three of x, y, z, 1 is."""
    index = [MONOMIALS.index(_sorted(*triple)) for triple in product(range(4), repeat=3)]
    return torch.nn.functional.one_hot(torch.tensor(index, device=like.device), 20).to(like.dtype)


def _sorted(a: int, b: int, c: int) -> tuple[int, int, int]:
    first, second, third = sorted((a, b, c))
    return first, second, third


def _times_x(known: Tensor) -> Tensor:
    """(..., 10, 10) that takes LOWER to x LOWER, where the cubic monomials are -known LOWER."""
    A = torch.zeros_like(known)
    for row, monomial in enumerate(LOWER):
        # One factor 1 becomes x.
        raised = _sorted(*monomial[:2], X)
        if raised in LOWER:
            A[..., row, LOWER.index(raised)] = 1
        else:
            A[..., row, :] = -known[..., CUBIC.index(raised), :]
    return A
