"""Following a path by model predictive control: the path, the problem, the goal, and the controller around them."""
from .config import Goal, Limits, PathTrackerConfig, Progress, Solver, Weights
from .goal_checker import GoalChecker
from .path import ReferencePath
from .tracker import Command, PathTracker
from .verdict import PathVerdict, TrackingStatus

__all__ = ['Command', 'Goal', 'GoalChecker', 'Limits', 'PathTracker', 'PathTrackerConfig', 'PathVerdict', 'Progress',
           'ReferencePath', 'Solver', 'TrackingStatus', 'Weights']
