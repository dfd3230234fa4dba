"""Configuration of the fixed-lag IMU smoother."""
from dataclasses import dataclass, field

from pypose_core.inertial import ImuNoise

INIT_MODES = ('static', 'orientation', 'zero', 'pose')
ROBUST_KERNELS = ('none', 'huber', 'cauchy')


@dataclass(frozen=True)
class InitConfig:
    """How the first state is found."""

    mode: str = 'static'
    """static: stand still for `window`, level from gravity, gyroscope bias from the mean rate.
    orientation: attitude from the IMU message. zero: identity. pose: the first pose correction."""
    window: float = 1.0
    """s. Length of the window that static initialization and the detection of units look at."""
    max_gyro_std: float = 0.05
    """rad/s, per axis. A window with more is motion; hand-held stillness is about 0.02."""
    max_accel_std: float = 0.5
    """m/s^2, per axis. A window with more is motion; idling motors shake by about 0.3."""
    attitude_sigma: float = 0.02
    """rad. Prior on the attitude that is taken from the IMU message or, in mode zero, as level."""
    gravity_sigma: float = 0.02
    """m/s^2. How well the configured gravity is known: it varies by 0.05 over the Earth."""
    position_sigma: float = 1e-3
    """m. Prior on position and, as an angle in rad, on yaw: the odometry frame starts here by definition."""
    velocity_sigma: float = 1.0
    """m/s. Prior on the velocity where the robot is not known to stand still (mode pose)."""
    static_velocity_sigma: float = 0.02
    """m/s. Prior on the velocity where it is."""
    gyro_bias_sigma: float = 0.05
    """rad/s. Prior on the gyroscope bias where it was not measured; consumer MEMS offset."""
    accel_bias_sigma: float = 0.2
    """m/s^2. Prior on the accelerometer bias; consumer MEMS offset."""
    max_velocity_sigma: float = 0.15
    """m/s. Output starts once the velocity's standard deviation along every axis is below this."""

    def __post_init__(self):
        if self.mode not in INIT_MODES:
            raise ValueError(f'init.mode is {self.mode!r}; use one of {", ".join(INIT_MODES)}')
        if not self.window > 0:
            raise ValueError(f'init.window is {self.window}; it must be positive')


@dataclass(frozen=True)
class ImuSmootherConfig:
    """Parameters of `ImuSmoother`; the node's parameters of the same names fill it."""

    noise: ImuNoise
    """Noise densities and bias random walks in Kalibr's units."""
    gravity: float = 9.80665
    """m/s^2. Standard gravity; local values differ by 0.03."""
    init: InitConfig = field(default_factory=InitConfig)
    """How the first state is found."""
    window_size: int = 10
    """Keyframes that are estimated jointly; older ones are marginalized into a prior."""
    max_keyframe_interval: float = 1.0
    """s. Without corrections a keyframe is made this often, which bounds every integration."""
    correction_timeout: float = 1.0
    """s. After this long without a correction the status is STALE."""
    max_correction_lead: float = 0.5
    """s. A correction that is further ahead of the IMU than this is refused: the clocks disagree."""
    robust_kernel: str = 'huber'
    """Kernel on corrections: none, huber or cauchy. Huber leaves good corrections as they are."""
    robust_width: float = 4.0
    """Mahalanobis distance beyond which a correction is down-weighted; for a 6-vector, one good
    correction in 70 lies beyond 4."""
    odometry_sigma: tuple[float, float] = (0.02, 0.01)
    """m and rad. Of one increment between odometry messages whose covariance is unknown (all zeros)."""
    pose_sigma: tuple[float, float] = (0.05, 0.02)
    """m and rad. Of a pose correction whose covariance is unknown."""
    body_velocity_sigma: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m/s, along the base's x, y and z. What the base cannot do: its velocity there is zero to this
    standard deviation; 0 leaves an axis free. (0, 0, 0.05) keeps a ground robot on the ground, which wheel
    odometry alone does not: it measures no height. (0, 0.05, 0.05) for one that cannot move sideways either."""
    max_iterations: int = 5
    """Of one solve; a warm start needs two or three."""
    time_budget: float = 0.0
    """s of wall time for one solve; 0 = none, which a deterministic replay needs."""
    max_imu_gap: float = 0.1
    """s. A longer interval between samples inflates the covariance."""
    reinit_gap: float = 1.0
    """s. A longer one starts the initialization again."""
    gap_gyro_sigma: float = 0.5
    """rad/s. How far the rate may be from the mean of a gap's two ends."""
    gap_accel_sigma: float = 2.0
    """m/s^2. The same of the specific force."""
    reset_backward_jump: float = 0.5
    """s. A stamp this much older than the last one is a clock that jumped or a bag that loops."""
    max_velocity: float = 30.0
    """m/s. A faster estimate has diverged."""
    max_gyro_bias: float = 1.0
    """rad/s. A larger estimated bias has diverged."""
    max_accel_bias: float = 1.0
    """m/s^2. A larger estimated bias has diverged."""
    accel_scale: float = 0.0
    """Factor from the sensor's unit to m/s^2; 0 = detect g from the first window."""
    time_offset: float = 0.0
    """s, added to IMU stamps: the IMU's delay against the corrections (Kalibr's timeshift_cam_imu)."""

    def __post_init__(self):
        if self.robust_kernel not in ROBUST_KERNELS:
            raise ValueError(f'robust_kernel is {self.robust_kernel!r}; use one of {", ".join(ROBUST_KERNELS)}')
        if self.window_size < 2:
            raise ValueError(f'window_size is {self.window_size}; a window has at least 2 keyframes')
        if len(self.body_velocity_sigma) != 3 or min(self.body_velocity_sigma) < 0:
            raise ValueError(f'body_velocity_sigma is {self.body_velocity_sigma}; it has 3 numbers >= 0')
        for name in ('gravity', 'max_keyframe_interval', 'correction_timeout', 'max_imu_gap', 'reinit_gap'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be positive')
        if self.reinit_gap < self.max_imu_gap:
            raise ValueError(f'reinit_gap ({self.reinit_gap}) is shorter than max_imu_gap ({self.max_imu_gap})')
