"""PyPose's namespace `pp.module`."""
from .inertial.imu_preintegrator import IMUPreintegrator

__all__ = ['IMUPreintegrator']
