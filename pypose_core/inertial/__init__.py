"""Inertial measurements: noise models and on-manifold preintegration."""
from .noise import ImuNoise

__all__ = ['ImuNoise']
