"""How good an estimate is: trajectories, their association and alignment, ATE, RPE, NEES and RMSE."""
from .alignment import ALIGNMENTS, Alignment, align, umeyama, yaw_alignment
from .association import associate, associate_interpolated
from .ate import Ate, ate
from .nees import Nees, effective_samples, nees
from .rmse import rmse
from .rpe import Rpe, pairs_at_distance, pairs_at_frames, pairs_at_seconds, rpe
from .statistics import Statistics
from .trajectory import Trajectory
from .tum import TrajectoryFileError, format_tum, read_tum, write_tum

__all__ = [
    'ALIGNMENTS', 'Alignment', 'Ate', 'Nees', 'Rpe', 'Statistics', 'Trajectory', 'TrajectoryFileError',
    'align', 'associate', 'associate_interpolated', 'ate', 'effective_samples', 'format_tum', 'nees',
    'pairs_at_distance', 'pairs_at_frames', 'pairs_at_seconds', 'read_tum', 'rmse', 'rpe', 'umeyama',
    'write_tum', 'yaw_alignment',
]
