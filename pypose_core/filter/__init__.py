"""Filters: EKF, UKF and PF in PyPose's form, error states on Lie groups, invariant IMU filter, smoother."""
from .ekf import EKF
from .invariant import InvariantImuFilter
from .kalman import kalman_step
from .manifold import ErrorStateEKF
from .pf import PF
from .smoother import Smoothed, rts, smooth
from .ukf import UKF

__all__ = ['EKF', 'PF', 'UKF', 'ErrorStateEKF', 'InvariantImuFilter', 'Smoothed', 'kalman_step', 'rts', 'smooth']
