"""Factor graphs: variables of Lie groups, batched factors, sparse solvers, initial guesses, marginals, files."""
from .bal import read_bal, write_bal
from .chordal import chordal_initialization
from .consistency import ConsistentClosures, consistent_closures
from .dogleg import Dogleg
from .factor_graph import FactorGraph
from .factors import (
    BalReprojection,
    Bearing,
    Between,
    Factors,
    FrameBetween,
    FramePrior,
    Gnss,
    Imu,
    Landmark,
    Prior,
    Range,
    Reprojection,
    Residual,
)
from .file_error import GraphFileError
from .g2o import read_g2o, write_g2o
from .gauss_newton import GaussNewton
from .gnc import GncResult, solve_robustly
from .groups import NAV_STATE, SE2, SE3, SE23_BIAS, SIM3, Euclidean, Group
from .incremental import IncrementalGraph
from .incremental_result import IncrementalConfig, IncrementalStats, IncrementalStatus, IncrementalUpdate
from .kernels import RobustKernel
from .layer import SolverLayer
from .levenberg_marquardt import LevenbergMarquardt
from .marginals import Marginals
from .odometry import odometry_initialization
from .pose_graph_text import G2oError, G2oFile
from .result import GraphResult, GraphStats, GraphStatus
from .spline_trajectory import SplineTrajectory
from .toro import read_toro, write_toro

__all__ = ['BalReprojection', 'Bearing', 'Between', 'ConsistentClosures', 'Dogleg', 'Euclidean', 'FactorGraph',
           'Factors', 'FrameBetween', 'FramePrior', 'G2oError', 'G2oFile', 'GaussNewton', 'GncResult', 'Gnss',
           'GraphFileError', 'GraphResult', 'GraphStats', 'GraphStatus', 'Group', 'Imu', 'IncrementalConfig',
           'IncrementalGraph', 'IncrementalStats', 'IncrementalStatus', 'IncrementalUpdate', 'Landmark',
           'LevenbergMarquardt', 'Marginals', 'NAV_STATE', 'Prior', 'Range', 'Reprojection', 'Residual',
           'RobustKernel', 'SE2', 'SE23_BIAS', 'SE3', 'SIM3', 'SolverLayer', 'SplineTrajectory',
           'chordal_initialization', 'consistent_closures', 'odometry_initialization', 'read_bal', 'read_g2o',
           'read_toro', 'solve_robustly', 'write_bal', 'write_g2o', 'write_toro']
