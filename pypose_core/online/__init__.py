"""Estimators that run on a robot or over a bag: fed stamped tensors, without ROS."""
from pypose_core.online.config import ImuSmootherConfig, InitConfig
from pypose_core.online.fixed_lag import Keyframe, SolveJob
from pypose_core.online.imu_smoother import ImuSmoother
from pypose_core.online.output import ImuOutput
from pypose_core.online.verdict import Status, Verdict

__all__ = ['ImuOutput', 'ImuSmoother', 'ImuSmootherConfig', 'InitConfig', 'Keyframe', 'SolveJob', 'Status', 'Verdict']
