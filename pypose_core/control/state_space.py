"""What a state is made of: vectors, and rotations whose errors live in the tangent space."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Euclidean:
    """A part of the state that is a vector."""

    size: int

    @property
    def tangent(self) -> int:
        return self.size


@dataclass(frozen=True)
class Rotation:
    """A part of the state that is a unit quaternion x y z w, perturbed on the right: q Exp(δ)."""

    size: int = 4

    @property
    def tangent(self) -> int:
        return 3


def multiply(a, b):
    """Product of quaternions (..., 4), of tensors or of traced symbols."""
    ax, ay, az, aw = (a[..., i] for i in range(4))
    bx, by, bz, bw = (b[..., i] for i in range(4))
    return torch.stack([aw * bx + bw * ax + ay * bz - az * by, aw * by + bw * ay + az * bx - ax * bz,
                        aw * bz + bw * az + ax * by - ay * bx, aw * bw - ax * bx - ay * by - az * bz], -1)


class StateSpace:
    """A product of vector spaces and rotations, in the order of the state's numbers."""

    def __init__(self, parts: Sequence[Euclidean | Rotation]):
        self.parts = tuple(parts)
        self.size = sum(p.size for p in self.parts)
        self.tangent = sum(p.tangent for p in self.parts)
        self.rotations: tuple[int, ...] = ()
        columns: list[int | None] = []      # tangent column of each number; None within a rotation
        at = 0
        for part in self.parts:
            if isinstance(part, Rotation):
                self.rotations += (len(columns),)
                columns += [None] * 4
            else:
                columns += range(at, at + part.size)
            at += part.tangent
        self.columns = tuple(columns)

    def pieces(self):
        """(part, its first number, its first tangent column)."""
        number = column = 0
        for part in self.parts:
            yield part, number, column
            number += part.size
            column += part.tangent

    def local(self, origin, x):
        """x ⊖ origin (..., tangent), to second order: a rotation's is twice the vector of origin⁻¹ x.

        Exact in value and first derivative at x = origin, which is where a solution has it.
        """
        if not self.rotations:
            return x - origin
        found = []
        for part, n, _ in self.pieces():
            if isinstance(part, Rotation):
                a = origin[..., n:n + 4]
                inverse = torch.stack([-a[..., 0], -a[..., 1], -a[..., 2], a[..., 3]], -1)
                q = multiply(inverse, x[..., n:n + 4])
                sign = torch.where(q[..., 3:] > 0.0, torch.ones_like(q[..., 3:]), -torch.ones_like(q[..., 3:]))
                found.append(2 * sign * q[..., :3])
            else:
                found.append(x[..., n:n + part.size] - origin[..., n:n + part.size])
        return torch.cat(found, -1)

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        """x ⊕ δ."""
        if not self.rotations:
            return x + delta
        found = []
        for part, n, c in self.pieces():
            if isinstance(part, Rotation):
                d = delta[..., c:c + 3]
                squared = d.square().sum(-1, keepdim=True)
                small = squared < 1e-8
                angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
                vector = d * torch.where(small, 0.5 - squared / 48, (angle / 2).sin() / angle)
                scalar = torch.where(small, 1 - squared / 8, (angle / 2).cos())
                q = multiply(x[..., n:n + 4], torch.cat([vector, scalar], -1))
                found.append(q / q.norm(dim=-1, keepdim=True))
            else:
                found.append(x[..., n:n + part.size] + delta[..., c:c + part.size])
        return torch.cat(found, -1)
