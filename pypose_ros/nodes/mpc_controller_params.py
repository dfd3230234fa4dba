"""The parameters of mpc_controller, for the node and for the docs."""
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from pypose_core.online.path_tracking import Goal, Limits, PathTrackerConfig, Progress, Solver, Weights
from pypose_core.online.path_tracking.config import MODELS
from pypose_ros.common_params import CommonParams
from pypose_ros.params import Change, parameter

NODE_NAME = 'mpc_controller'
weight = partial(parameter, minimum=0.0, maximum=1e4)


@dataclass(frozen=True)
class LimitParams:
    """What may be commanded."""
    max_speed: float = parameter(1.0, 'm/s forwards.', minimum=0.01, maximum=50.0)
    min_speed: float = parameter(0.0, 'm/s; negative lets the robot drive backwards.', minimum=-50.0, maximum=0.0)
    max_lateral_speed: float = parameter(0.5, 'm/s sideways, model omni.', minimum=0.0, maximum=50.0)
    max_turn_rate: float = parameter(1.5, 'rad/s.', minimum=0.01, maximum=50.0)
    max_acceleration: float = parameter(1.0, 'm/s², of every speed.', minimum=0.01, maximum=100.0)
    max_turn_acceleration: float = parameter(3.0, 'rad/s².', minimum=0.01, maximum=1000.0)
    max_lateral_acceleration: float = parameter(
        0.6, 'm/s², to which the wanted speed keeps in curves.', minimum=0.01, maximum=100.0)
    wheelbase: float = parameter(0.5, 'm, model ackermann.', minimum=0.01, maximum=20.0)
    max_steering: float = parameter(0.5, 'rad, model ackermann.', minimum=0.01, maximum=1.5)


@dataclass(frozen=True)
class WeightParams:
    """Weights w of the residuals w r in the cost ½ Σ (w r)²."""
    along: float = weight(1.0, '1/m, error along the path.')
    cross: float = weight(3.0, '1/m, error across it.')
    heading: float = weight(1.0, '1/rad, error of the heading.')
    speed: float = weight(1.0, 's/m, difference to the wanted speed.')
    turn: float = weight(0.3, 's/rad, difference to the turn rate of the path.')
    speed_change: float = weight(0.5, 's/m, change of the speed between stages.')
    turn_change: float = weight(0.4, 's/rad, change of the turn rate between stages.')
    obstacle: float = weight(12.0, '1/m, by how much the robot is nearer than `clearance`.')
    terminal: float = weight(3.0, 'Factor on the weights of the pose at the end of the horizon.')


@dataclass(frozen=True)
class GoalParams:
    """When the goal is reached."""
    xy: float = parameter(0.1, 'm.', minimum=0.005, maximum=10.0)
    yaw: float = parameter(0.15, 'rad; 0 = any heading.', minimum=0.0, maximum=3.2)
    stopped_speed: float = parameter(
        0.05, 'm/s, and twice as many rad/s, below which the robot stands.', minimum=0.001, maximum=1.0)


@dataclass(frozen=True)
class ProgressParams:
    """When the path is given up for want of progress."""
    radius: float = parameter(0.25, 'm along the path, or rad turned, ...', minimum=0.01, maximum=10.0)
    time: float = parameter(10.0, '... that must be gained within so many s; 0 = never.', minimum=0.0, maximum=3600.0)


@dataclass(frozen=True)
class SolverParams:
    """Limits of one solve."""
    max_iterations: int = parameter(10, 'Quadratic programs; one or two are the rule.', minimum=1, maximum=1000)
    time_budget: float = parameter(
        0.0, 's after which none is begun; 0 = none.', minimum=0.0, maximum=10.0)
    tolerance: float = parameter(1e-3, 'Largest step at which a solve ends.', minimum=1e-9, maximum=1.0)


@dataclass(frozen=True)
class MpcControllerParams(CommonParams):
    """See each field."""
    odom_frame: str = parameter('odom', 'Frame of odometry, in which the robot is controlled.')
    base_frame: str = parameter('base_link', 'Frame of the robot.')
    controller_frequency: float = parameter(20.0, 'Hz of the commands.', minimum=1.0, maximum=200.0)
    horizon: int = parameter(25, 'Stages of a plan.', minimum=2, maximum=200)
    dt: float = parameter(0.1, 's of a stage.', minimum=0.005, maximum=1.0)
    model: str = parameter('unicycle', 'unicycle (differential drives too), ackermann, omni.', choices=MODELS)
    limits: LimitParams = field(default_factory=LimitParams)
    weights: WeightParams = field(default_factory=WeightParams)
    solver: SolverParams = field(default_factory=SolverParams)
    goal_tolerance: GoalParams = field(default_factory=GoalParams)
    progress: ProgressParams = field(default_factory=ProgressParams)
    radius: float = parameter(0.25, 'm, of the robot.', minimum=0.0, maximum=10.0)
    clearance: float = parameter(0.2, 'm beyond the radius from where on nearness costs.', minimum=0.01, maximum=10.0)
    lookahead: float = parameter(
        1.5, 'm along the path within which the robot is looked for in one cycle.', minimum=0.1, maximum=100.0)
    max_distance: float = parameter(
        3.0, 'm between robot and path beyond which a path is refused.', minimum=0.1, maximum=1e3)
    delay: float = parameter(
        0.1, 's from a command to its effect, lag of the drives included; the state is predicted over it.',
        minimum=0.0, maximum=1.5)
    odom_timeout: float = parameter(
        0.5, 's without odometry until zero is commanded.', minimum=0.02, maximum=60.0)
    costmap_timeout: float = parameter(
        3.0, 's without a costmap, where there was one, until zero is commanded; 0 = never.', minimum=0.0,
        maximum=3600.0, change=Change.ANY)
    clock_timeout: float = parameter(
        0.25, 's of the steady clock that a simulated one may stand still until zero is commanded.', minimum=0.02,
        maximum=60.0)
    failure_tolerance: float = parameter(
        0.3, 's of zero velocity for want of a command until the path is given up; -1 = never.', minimum=-1.0,
        maximum=3600.0)
    occupied: int = parameter(65, 'Cells of the costmap from this on are obstacles.', minimum=1, maximum=100)
    map_cells: int = parameter(250_000, 'Cells of the largest costmap.', minimum=4, maximum=100_000_000)
    publish_zero_velocity: bool = parameter(
        True, 'Command zero once a path ends; false leaves the last word to who drives next. Failures and '
        'deactivation always command zero.', change=Change.ANY)
    enable_stamped_cmd_vel: bool = parameter(
        False, 'cmd_vel is a TwistStamped: false on Jazzy, true from Kilted on.')


T = TypeVar('T')


def _filled(make: Callable[..., T], params: object) -> T:
    """A dataclass of the core from parameters of the same names."""
    return make(**{name: getattr(params, name) for name in inspect.signature(make).parameters})


def tracker_config(params: MpcControllerParams) -> PathTrackerConfig:
    """The controller's configuration. ValueError where parameters contradict each other."""
    names = ('horizon', 'dt', 'model', 'radius', 'clearance', 'lookahead', 'max_distance', 'delay', 'odom_timeout',
             'failure_tolerance', 'occupied', 'map_cells')
    return PathTrackerConfig(
        frequency=params.controller_frequency, limits=_filled(Limits, params.limits),
        weights=_filled(Weights, params.weights), goal=_filled(Goal, params.goal_tolerance),
        progress=_filled(Progress, params.progress), solver=_filled(Solver, params.solver),
        **{name: getattr(params, name) for name in names})


def check(params: MpcControllerParams) -> None:
    """ValueError where parameters contradict each other."""
    tracker_config(params)
    if params.odom_frame == params.base_frame:
        raise ValueError(f'odom_frame and base_frame are both {params.odom_frame!r}')
