"""The operations that the classes of this folder are made of: native, or their reference in torch and SciPy."""
from typing import Any

import torch

from pypose_core import native

operations: Any = torch.ops.pypose
if not native.available:
    from . import reference
    operations = reference

__all__ = ['operations']
