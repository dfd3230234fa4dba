"""PyPose's module `pp.basics.ops`."""
from pypose_core.lie.cumulative import cummul, cummul_, cumops, cumops_, cumprod, cumprod_, pm

__all__ = ['cummul', 'cummul_', 'cumops', 'cumops_', 'cumprod', 'cumprod_', 'pm']
