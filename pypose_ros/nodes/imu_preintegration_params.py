"""The parameters of imu_preintegration, for the node, for a replay without ROS and for the docs."""
import math
from dataclasses import dataclass, field

from pypose_core.inertial import ImuNoise
from pypose_core.online import ImuSmootherConfig, InitConfig
from pypose_ros.common_params import CommonParams
from pypose_ros.params import Change, parameter

NODE_NAME = 'imu_preintegration'


@dataclass(frozen=True)
class InitParams:
    """How the first state is found."""
    mode: str = parameter(
        'static', 'static: stand still, level from gravity. orientation: attitude from the IMU message. '
        'zero: level and at rest. pose: from the first message on `pose`.',
        choices=('static', 'orientation', 'zero', 'pose'))
    window: float = parameter(
        1.0, 's of standing still that are averaged.', minimum=0.05, maximum=60.0)


@dataclass(frozen=True)
class ImuPreintegrationParams(CommonParams):
    """See each field. Defaults of the noise: a MEMS IMU of the better kind (ADIS16448)."""
    odom_frame: str = parameter('odom', 'Frame of the estimate; header.frame_id of the outputs.')
    base_frame: str = parameter('base_link', 'Frame whose pose is estimated; child_frame_id of the outputs.')
    extrinsic_imu_to_base: tuple[float, ...] = parameter(
        (), 'Pose of the IMU in base_frame [x y z qx qy qz qw]; empty = looked up once in TF, from '
        "base_frame to the frame of the IMU's messages.", lengths=(0, 7))
    gyroscope_noise_density: float = parameter(
        1.7e-4, 'rad/s/√Hz, as in Kalibr.', minimum=1e-9, maximum=1.0)
    accelerometer_noise_density: float = parameter(
        2.0e-3, 'm/s²/√Hz, as in Kalibr.', minimum=1e-9, maximum=10.0)
    gyroscope_random_walk: float = parameter(
        2.0e-5, 'rad/s²/√Hz, as in Kalibr: drift of the gyroscope bias.', minimum=0.0, maximum=1.0)
    accelerometer_random_walk: float = parameter(
        3.0e-3, 'm/s³/√Hz, as in Kalibr: drift of the accelerometer bias.', minimum=0.0, maximum=10.0)
    gravity: float = parameter(9.80665, 'm/s², local gravity.', minimum=0.1, maximum=30.0)
    time_offset: float = parameter(
        0.0, 's added to the stamps of the IMU (Kalibr: timeshift_cam_imu).', minimum=-1.0, maximum=1.0)
    accel_scale: float = parameter(
        0.0, 'Factor from the accelerometer\'s unit to m/s²; 0 = detect g in the first window.',
        minimum=0.0, maximum=1000.0)
    init: InitParams = field(default_factory=InitParams)
    window_size: int = parameter(
        10, 'Keyframes that are estimated jointly; a correction makes one.', minimum=2, maximum=200)
    correction_timeout: float = parameter(
        1.0, 's without a correction until the estimate is STALE: odometry goes on with growing covariance, '
        'TF stops.', minimum=0.01, maximum=3600.0)
    robust_kernel: str = parameter(
        'huber', 'Kernel on corrections.', choices=('none', 'huber', 'cauchy'))
    odometry_sigma: tuple[float, ...] = parameter(
        (0.02, 0.01), 'm and rad of one increment of `odometry` whose covariance is all zeros (unknown).',
        minimum=1e-6, maximum=100.0, lengths=(2,))
    pose_sigma: tuple[float, ...] = parameter(
        (0.05, 0.02), 'm and rad of a `pose` whose covariance is all zeros (unknown).',
        minimum=1e-6, maximum=100.0, lengths=(2,))
    body_velocity_sigma: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), 'm/s along x, y, z of base_frame that the robot cannot move by: its velocity there '
        'is zero to this standard deviation; 0 leaves an axis free. A ground robot: [0, 0, 0.05].',
        minimum=0.0, maximum=100.0, lengths=(3,))
    max_iterations: int = parameter(5, 'Iterations of one solve.', minimum=1, maximum=100)
    time_budget: float = parameter(
        0.0, 's for one solve; 0 = none.', minimum=0.0, maximum=10.0)
    max_imu_gap: float = parameter(
        0.1, 's between samples beyond which the covariance is inflated.', minimum=1e-3, maximum=60.0)
    reinit_gap: float = parameter(
        1.0, 's between samples beyond which the estimator initializes again.', minimum=1e-2, maximum=600.0)
    max_velocity: float = parameter(30.0, 'm/s; a faster estimate has diverged.', minimum=0.1, maximum=1e4)
    max_gyro_bias: float = parameter(
        1.0, 'rad/s; a larger estimated bias has diverged.', minimum=1e-4, maximum=100.0)
    max_accel_bias: float = parameter(
        1.0, 'm/s²; a larger estimated bias has diverged.', minimum=1e-4, maximum=100.0)
    publish_rate: float = parameter(
        0.0, 'Hz of the outputs; 0 = every IMU sample.', minimum=0.0, maximum=1e4, change=Change.ANY)
    publish_tf: bool = parameter(
        True, 'Broadcast odom → base_link; exactly one node of a robot may.', change=Change.ANY)
    invert_tf: bool = parameter(
        False, 'Broadcast base_link → odom instead, for a tree where base_link has another parent.')
    model: str = parameter(
        'none', 'File of a learned IMU corrector; its noise per sample and random walks are then the estimator\'s. '
        'none = samples are used as they come.')
    model_class: str = parameter(
        '', 'Class of your own that weights are of, package.module:Class; its stream() corrects sample by sample. '
        'Empty = ImuCorrector.')
    allow_reload: bool = parameter(
        False, 'Take up weights that are announced on ~/weights, between two samples.', change=Change.ANY)


def smoother_config(params: ImuPreintegrationParams) -> ImuSmootherConfig:
    """The estimator's configuration. ValueError where parameters contradict each other."""
    names = ('gravity', 'window_size', 'correction_timeout', 'robust_kernel', 'odometry_sigma', 'pose_sigma',
             'body_velocity_sigma', 'max_iterations', 'time_budget', 'max_imu_gap', 'reinit_gap',
             'max_velocity', 'max_gyro_bias', 'max_accel_bias', 'accel_scale', 'time_offset')
    noise = ImuNoise(
        gyroscope_noise_density=params.gyroscope_noise_density,
        accelerometer_noise_density=params.accelerometer_noise_density,
        gyroscope_random_walk=params.gyroscope_random_walk,
        accelerometer_random_walk=params.accelerometer_random_walk)
    return ImuSmootherConfig(noise=noise, init=InitConfig(mode=params.init.mode, window=params.init.window),
                             **{name: getattr(params, name) for name in names})


def check(params: ImuPreintegrationParams) -> None:
    """ValueError where parameters contradict each other or ask for what there is not."""
    smoother_config(params)
    extrinsic = params.extrinsic_imu_to_base
    if extrinsic and abs(math.hypot(*extrinsic[3:]) - 1) > 1e-4:
        raise ValueError(
            f'extrinsic_imu_to_base: the quaternion {extrinsic[3:]} (x y z w) is not of unit length')
