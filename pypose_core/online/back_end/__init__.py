"""The pose-graph back-end: keyframes, loop closures, absolute measurements; see docs/pose_graph_back_end.md."""
from .back_end import PoseGraphBackEnd
from .config import BackEndConfig
from .files import SessionError
from .inertial import ImuSource
from .records import EdgeInput, EdgeKind, LoopEvent, PriorKind
from .solve_job import SolveJob

__all__ = ['BackEndConfig', 'EdgeInput', 'EdgeKind', 'ImuSource', 'LoopEvent', 'PoseGraphBackEnd', 'PriorKind',
           'SessionError', 'SolveJob']
