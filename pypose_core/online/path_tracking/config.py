"""Configuration of the path-tracking controller."""
from dataclasses import dataclass, field

MODELS = ('unicycle', 'ackermann', 'omni')


@dataclass(frozen=True)
class Limits:
    """What may be commanded."""

    max_speed: float = 1.0
    """m/s forwards."""
    min_speed: float = 0.0
    """m/s; negative lets the robot drive backwards."""
    max_lateral_speed: float = 0.5
    """m/s sideways, of an omnidirectional robot."""
    max_turn_rate: float = 1.5
    """rad/s."""
    max_acceleration: float = 1.0
    """m/s²: of every speed."""
    max_turn_acceleration: float = 3.0
    """rad/s²."""
    max_lateral_acceleration: float = 0.6
    """m/s², v²κ on the path: the speed that is wanted in curves keeps to it."""
    wheelbase: float = 0.5
    """m, of an Ackermann robot."""
    max_steering: float = 0.5
    """rad, of an Ackermann robot: bounds |w| ≤ v tan(δ) / wheelbase."""


@dataclass(frozen=True)
class Weights:
    """Weights w of the residuals w r in the cost ½ Σ (w r)² of a stage."""

    along: float = 1.0
    """1/m, of the error along the path: how hard the reference's progress is kept."""
    cross: float = 3.0
    """1/m, of the error across it."""
    heading: float = 1.0
    """1/rad."""
    speed: float = 1.0
    """s/m, of the difference to the wanted speed."""
    turn: float = 0.3
    """s/rad, of the difference to the path's own turn rate."""
    speed_change: float = 0.5
    """s/m, of the change of speed from stage to stage."""
    turn_change: float = 0.4
    """s/rad."""
    obstacle: float = 12.0
    """1/m, of how much nearer than `clearance` the body is to an obstacle."""
    terminal: float = 3.0
    """Factor on the pose's weights at the end of the horizon."""


@dataclass(frozen=True)
class Goal:
    """When the goal is reached."""

    xy: float = 0.1
    """m."""
    yaw: float = 0.15
    """rad; 0 or less: any heading."""
    stopped_speed: float = 0.05
    """m/s and, times two, rad/s below which the robot stands."""


@dataclass(frozen=True)
class Progress:
    """When the path is given up for want of progress."""

    radius: float = 0.25
    """m that must be gained along the path, or turned in rad, ..."""
    time: float = 10.0
    """... within so many s; 0: never."""


@dataclass(frozen=True)
class Solver:
    """Limits of one solve."""

    max_iterations: int = 10
    """Quadratic programs; one or two are enough in a smooth drive."""
    time_budget: float = 0.0
    """s, 0 = none: the iterations bound the work, and a process that waited for the processor has done none of it."""
    tolerance: float = 1e-3
    """Largest step, in the units of state and control, at which it ends."""


@dataclass(frozen=True)
class PathTrackerConfig:
    """Parameters of `PathTracker`; the node's parameters of the same names fill it."""

    frequency: float = 20.0
    """Hz at which `command` is called."""
    horizon: int = 25
    """Stages."""
    dt: float = 0.1
    """s, of one stage."""
    model: str = 'unicycle'
    """unicycle (also differential drives), ackermann, omni; the controls are v, w or vx, vy, w."""
    limits: Limits = field(default_factory=Limits)
    weights: Weights = field(default_factory=Weights)
    goal: Goal = field(default_factory=Goal)
    progress: Progress = field(default_factory=Progress)
    solver: Solver = field(default_factory=Solver)
    radius: float = 0.25
    """m, of the robot: obstacles stay farther from its centre."""
    clearance: float = 0.2
    """m beyond the radius from where on nearness costs."""
    lookahead: float = 1.5
    """m along the path within which the robot is looked for in one cycle: it never jumps to another lap."""
    max_distance: float = 3.0
    """m between robot and path beyond which a path is refused."""
    delay: float = 0.1
    """s from a command to its effect, the actuators' lag included: the state is predicted over it from the commands
    that are under way."""
    odom_timeout: float = 0.5
    """s without odometry until the robot is stopped."""
    failure_tolerance: float = 0.3
    """s of zero commands for want of a better one until the path is given up; negative: never."""
    occupied: int = 65
    """Cells of the costmap from this value on are obstacles; unknown ones are not."""
    map_cells: int = 250_000
    """Cells of the largest costmap."""

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(f'model is {self.model!r}; use one of {", ".join(MODELS)}')
        if self.horizon < 2 or not self.dt > 0 or not self.frequency > 0:
            raise ValueError(f'horizon {self.horizon} must be at least 2, dt {self.dt} and the frequency '
                             f'{self.frequency} positive')
        limits = self.limits
        if not limits.min_speed <= 0 < limits.max_speed:
            raise ValueError(f'min_speed {limits.min_speed} must be 0 or less, max_speed {limits.max_speed} positive')
        if self.model == 'ackermann' and limits.min_speed < 0:
            raise ValueError('an Ackermann robot is driven forwards only: min_speed must be 0')
        if self.frequency * self.dt < 1:
            raise ValueError(f'the period 1 / {self.frequency} s is longer than dt {self.dt} s: the plan would be '
                             'older than its first stage')
