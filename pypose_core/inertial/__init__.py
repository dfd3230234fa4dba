"""Inertial measurements: noise models and on-manifold preintegration, batched and streaming."""
from .noise import ImuNoise
from .preintegrate import preintegrate
from .preintegrated import Preintegrated
from .sensor_frame import to_body_frame
from .streaming import Preintegrator

__all__ = ['ImuNoise', 'Preintegrated', 'Preintegrator', 'preintegrate', 'to_body_frame']
