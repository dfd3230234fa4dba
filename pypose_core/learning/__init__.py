"""Front-end networks, and how they are trained through the solvers."""
from .checkpoint import Checkpoint, CheckpointError, Metadata, load_checkpoint, save_checkpoint
from .front_end import KINDS, FrontEnd, front_end_class
from .imu_calibration import Calibration, calibrate
from .imu_corrector import CorrectedImu, ImuCorrector
from .imu_stream import ImuStream
from .imu_training import ImuTrainingConfig, Recording, Score, Span, TrainedCorrector, train_imu_corrector
from .imu_windows import ImuWindows, KnownStates, cut_windows
from .loop_verifier import LoopVerifier
from .odometry_uncertainty import OdometryUncertainty
from .parallel import processes
from .preintegration_level import (
    Motion,
    PreintegrationLevel,
    fixed_corrector,
    negative_log_likelihood,
    robust_negative_log_likelihood,
)
from .trainer import BilevelTrainer, Progress
from .training_config import TrainingConfig
from .trajectory_level import KeyframeWindow, TrajectoryLevel, consistency, held_out_positions

__all__ = ['KINDS', 'BilevelTrainer', 'Calibration', 'Checkpoint', 'CheckpointError', 'CorrectedImu', 'FrontEnd',
           'ImuCorrector', 'ImuStream', 'ImuTrainingConfig', 'ImuWindows', 'KeyframeWindow', 'KnownStates',
           'LoopVerifier', 'Metadata', 'Motion', 'OdometryUncertainty', 'PreintegrationLevel', 'Progress', 'Recording',
           'Score', 'Span', 'TrainedCorrector', 'TrainingConfig', 'TrajectoryLevel', 'calibrate', 'consistency',
           'cut_windows', 'fixed_corrector', 'front_end_class', 'held_out_positions', 'load_checkpoint',
           'negative_log_likelihood', 'processes', 'robust_negative_log_likelihood', 'save_checkpoint',
           'train_imu_corrector']
