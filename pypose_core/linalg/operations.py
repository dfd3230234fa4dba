"""The operations that the classes of this folder are made of: native, or their reference in torch and SciPy."""
import torch

from pypose_core import native

if native.available:
    operations = torch.ops.pypose
else:
    from . import reference as operations

__all__ = ['operations']
