"""PyPose's namespace `pp.sparse`."""
from . import ops
from .ops import bsr_bsc_matmul

__all__ = ['bsr_bsc_matmul', 'ops']
