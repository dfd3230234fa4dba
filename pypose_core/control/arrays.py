"""Numbers that are numpy's or torch's: what both modules do alike is written once."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any
"""A numpy array or a tensor."""


def module(like: Array | None) -> Any:
    """numpy where `like` is an array of its own, else torch."""
    return np if isinstance(like, np.ndarray) else torch


def given(value: Array, like: Array | None) -> Array:
    """A value as float64 of the module of `like`."""
    if isinstance(like, np.ndarray):
        return np.asarray(value, float)
    return torch.as_tensor(value, dtype=torch.float64)


def tensor(value: Array) -> Tensor:
    """Without its history, and contiguous; an array's memory is shared."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value.detach().contiguous()
