"""Losses on groups."""
from __future__ import annotations

from torch import Tensor, nn

from pypose_core.lie.lietensor import LieTensor


def geodesic_loss(input: LieTensor, target: LieTensor, reduction: str = 'mean') -> Tensor:
    """Angle between the rotations of input and target, in radians: |Log(R_input R_target⁻¹)|.

    Args:
        input, target: LieTensors with a rotation, of shapes that broadcast.
        reduction: 'none', 'mean' or 'sum' over the elements.
    """
    if not (isinstance(input, LieTensor) and isinstance(target, LieTensor)):
        raise TypeError('input and target must be LieTensors')
    if reduction not in ('none', 'mean', 'sum'):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")
    angle = (input.rotation() @ target.rotation().Inv()).Log().tensor().norm(dim=-1)
    return angle if reduction == 'none' else getattr(angle, reduction)()


class GeodesicLoss(nn.Module):
    """geodesic_loss() as a module.

    Args:
        reduction: 'none', 'mean' or 'sum' over the elements.
    """

    def __init__(self, reduction: str = 'mean'):
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")
        self.reduction = reduction

    def forward(self, input: LieTensor, target: LieTensor) -> Tensor:
        """Angle between the rotations of input and target, in radians."""
        return geodesic_loss(input, target, self.reduction)
