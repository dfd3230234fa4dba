"""PyPose's module `pp.module.pnp`."""
from pypose_core.geometry.epnp import EPnP

__all__ = ['EPnP']
