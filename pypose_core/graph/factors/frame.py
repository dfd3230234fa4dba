"""Poses of any group as a rotation and a position, and derivatives by these as derivatives by the group's tangent."""
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.lie import so3

from ..groups import Group


@dataclass(frozen=True)
class Frame:
    """n = 2 or 3 dimensions; without a rotation it is a point."""

    group: Group
    t: Tensor
    """(M, n) position in the world."""
    R: Tensor | None
    """(M, n, n) its axes in the world."""

    @property
    def axes(self) -> Tensor:
        """R, of a pose."""
        if self.R is None:
            raise ValueError(f'values of {self.group} have no rotation')
        return self.R

    def seen(self, p: Tensor) -> Tensor:
        """R' (p - t): a point of the world (M, n) from this frame."""
        return (self.axes.mT @ (p - self.t)[..., None])[..., 0]

    def tangent(self, by_position: Tensor, by_rotation: Tensor | None = None) -> Tensor:
        """(M, e, dof) from derivatives (M, e, n) by the position and (M, e, 3 or 1) by a turn about the own axes."""
        J = by_position.new_zeros(*by_position.shape[:-1], self.group.dof)
        J[..., self.group.position_step] = by_position @ self.axes if self.group.body_axes else by_position
        if by_rotation is not None:
            J[..., self.group.rotation_step] = by_rotation
        return J


def frame(group: Group, X: Tensor) -> Frame:
    """The frame of each value (M, storage)."""
    R = None
    if group.rotation is not None:
        q = X[..., group.rotation]
        R = so3.matrix(q) if q.shape[-1] == 4 else torch.stack(
            [q[..., 0], -q[..., 1], q[..., 1], q[..., 0]], -1).unflatten(-1, (2, 2))
    return Frame(group, X[..., group.position], R)


def turned(u: Tensor) -> Tensor:
    """d (R' v) / d turn at u = R' v: [u]x (M, 3, 3), or in the plane (M, 2, 1)."""
    return so3.hat(u) if u.shape[-1] == 3 else torch.stack([u[..., 1], -u[..., 0]], -1)[..., None]


def dimensions(group: Group) -> int:
    """n of the frame; 0 where the group's values are none."""
    return 0 if group.position_step is None else group.position.stop


def posed(group: Group) -> bool:
    """Whether values of the group are poses: a position and a rotation."""
    return dimensions(group) > 0 and group.rotation is not None
