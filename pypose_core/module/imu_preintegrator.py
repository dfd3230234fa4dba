"""PyPose's module `pp.module.imu_preintegrator`."""
from pypose_core.inertial.imu_preintegrator import IMUPreintegrator

__all__ = ['IMUPreintegrator']
