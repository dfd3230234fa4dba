"""How good an estimate is: trajectories, their association and alignment, ATE, RPE, NEES and RMSE.

`ape` and `rpe` have PyPose's form; `ate` and `relative_error` take trajectories.
"""
from .alignment import ALIGNMENTS, Alignment, align, umeyama, yaw_alignment
from .ape_rpe import ape, rpe
from .association import associate, associate_interpolated
from .ate import Ate, ate
from .nees import Nees, effective_samples, nees
from .relative_error import Rpe, pairs_at_distance, pairs_at_frames, pairs_at_seconds, relative_error
from .rmse import rmse
from .statistics import Statistics
from .trajectory import Trajectory
from .tum import TrajectoryFileError, format_tum, read_tum, write_tum

__all__ = [
    'ALIGNMENTS', 'Alignment', 'Ate', 'Nees', 'Rpe', 'Statistics', 'Trajectory', 'TrajectoryFileError',
    'align', 'ape', 'associate', 'associate_interpolated', 'ate', 'effective_samples', 'format_tum', 'nees',
    'pairs_at_distance', 'pairs_at_frames', 'pairs_at_seconds', 'read_tum', 'relative_error', 'rmse', 'rpe', 'umeyama',
    'write_tum', 'yaw_alignment',
]
