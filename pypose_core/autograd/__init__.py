"""PyPose's namespace `pp.autograd`."""
from . import function
from .function import parallel_for_sparse_jacobian, psjac

__all__ = ['function', 'parallel_for_sparse_jacobian', 'psjac']
