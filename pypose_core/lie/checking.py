"""Questions about values."""
from __future__ import annotations

import math

import torch

from pypose_core.lie.groups import SE3
from pypose_core.lie.lietensor import LieTensor


def is_lietensor(obj) -> bool:
    """Whether obj is a LieTensor."""
    return isinstance(obj, LieTensor)


def is_SE3(obj) -> bool:
    """Whether obj is a LieTensor of type SE3."""
    return isinstance(obj, SE3)


def hasnan(obj) -> bool:
    """Whether a number, a tensor, or any of a nested list or tuple of these is NaN."""
    if isinstance(obj, (list, tuple)):
        return any(hasnan(item) for item in obj)
    return bool(torch.isnan(obj).any()) if isinstance(obj, torch.Tensor) else math.isnan(obj)
