"""PyPose's module `pp.module.loss`."""
from pypose_core.lie.loss import GeodesicLoss, geodesic_loss

__all__ = ['GeodesicLoss', 'geodesic_loss']
