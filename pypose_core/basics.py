"""PyPose's namespace `pp.basics`."""
from .lie.cumulative import cummul, cummul_, cumops, cumops_, cumprod, cumprod_, pm

__all__ = ['cummul', 'cummul_', 'cumops', 'cumops_', 'cumprod', 'cumprod_', 'pm']
