"""Comparison of LieTensors in tests."""
from __future__ import annotations

import torch

from pypose_core.lie.checking import is_lietensor as is_lietensor
from pypose_core.lie.lietensor import LieTensor


def assert_close(actual, expected, *args, **kwargs) -> None:
    """torch.testing.assert_close, with two group LieTensors compared by Log(actual⁻¹ expected) and zero."""
    if isinstance(actual, LieTensor) and isinstance(expected, LieTensor) and not actual.ltype.on_manifold:
        difference = (actual.Inv() @ expected).Log().tensor()
        torch.testing.assert_close(difference, torch.zeros_like(difference), *args, **kwargs)
    else:
        torch.testing.assert_close(actual, expected, *args, **kwargs)
