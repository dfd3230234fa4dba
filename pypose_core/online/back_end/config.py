"""What the back-end can be told."""
from dataclasses import dataclass

from pypose_core.online.edge_models import OdometryModel

ROBUST = ('none', 'huber', 'gnc', 'pcm')


@dataclass(frozen=True)
class BackEndConfig:
    """Configuration of PoseGraphBackEnd.

    Sigmas are pairs (m, rad), of one measurement whose own covariance is unknown.

    Raises:
        ValueError: a number is out of range; it says which.
    """

    keyframe_distance: float = 1.0
    """m between keyframes; 0 makes every odometry message one."""
    keyframe_angle: float = 0.3
    """rad."""
    keyframe_time: float = 5.0
    """s; 0 = time alone makes no keyframe."""
    odometry_sigma: tuple[float, float] = (0.01, 0.005)
    """of a link between keyframes whatever the way between them."""
    odometry_drift: tuple[float, float] = (0.02, 0.02)
    """added in proportion to the way: m per m, rad per rad and, a tenth of it, per m."""
    odometry_model: OdometryModel | None = None
    """learned; it overrules the sigmas and what the source states."""
    loop_sigma: tuple[float, float] = (0.1, 0.05)
    pose_sigma: tuple[float, float] = (0.05, 0.02)
    gnss_sigma: tuple[float, float] = (2.0, 4.0)
    """m, horizontal and vertical."""
    gnss_lever: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, antenna in the base frame."""
    gnss_baseline: float = 5.0
    """m that the robot must have moved between fixes before they tell the heading of the map."""
    robust: str = 'huber'
    """What defends against wrong loop closures and priors."""
    gate: float = 0.999
    """Probability of the chi-square limit that a measurement must keep to be an inlier (gnc, pcm)."""
    huber_width: float = 1.5
    max_iterations: int = 10
    time_budget: float = 0.0
    """s for one solve; 0 = none."""
    max_nodes: int = 0
    """keyframes after which no more are made; 0 = no limit."""
    stamp_tolerance: float = 0.5
    """s between a measurement and the odometry nearest to it."""
    pending_timeout: float = 10.0
    """s of odometry that a measurement ahead of it waits for."""
    reset_backward_jump: float = 1.0
    """s that odometry may jump back before all begins anew."""
    max_speed: float = 50.0
    """m/s between two odometry messages; a faster jump is not driven and breaks the chain."""

    def __post_init__(self):
        if self.robust not in ROBUST:
            raise ValueError(f'robust: {self.robust!r} is none of {", ".join(ROBUST)}')
        if not 0.5 <= self.gate < 1.0:
            raise ValueError(f'gate: {self.gate} is no probability in [0.5, 1)')
        for name in ('odometry_sigma', 'loop_sigma', 'pose_sigma', 'gnss_sigma'):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f'{name}: {getattr(self, name)} must be positive')
        for name in ('keyframe_distance', 'keyframe_angle', 'keyframe_time', 'time_budget', 'max_nodes',
                     'stamp_tolerance', 'pending_timeout', 'reset_backward_jump', 'gnss_baseline'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name}: {getattr(self, name)} must not be negative')
        if self.huber_width <= 0 or self.max_speed <= 0 or self.max_iterations < 1:
            raise ValueError('huber_width, max_speed and max_iterations must be positive')
