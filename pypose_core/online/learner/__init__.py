"""Learning of an IMU corrector from a robot's own drives, supervised by its pose graph."""
from .config import LearnerConfig
from .corrector_learner import CorrectorLearner, Report, Round
from .history import ImuHistory
from .promotion import Judgement, judge
from .store import WeightStore

__all__ = ['CorrectorLearner', 'ImuHistory', 'Judgement', 'LearnerConfig', 'Report', 'Round', 'WeightStore', 'judge']
