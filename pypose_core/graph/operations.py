"""The operations that graphs are made of: native, or their reference in torch and SciPy."""
from typing import Any

import torch

from pypose_core import native

operations: Any
if native.available:
    operations = torch.ops.pypose
else:
    from . import reference
    operations = reference

__all__ = ['operations']
