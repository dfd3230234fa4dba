"""The parameters of pose_graph, for the node and for the docs."""
from dataclasses import dataclass, field
from functools import partial

from pypose_core.online.back_end import BackEndConfig
from pypose_core.online.back_end.config import ROBUST
from pypose_core.online.edge_models import load_odometry_model
from pypose_ros.common_params import CommonParams
from pypose_ros.params import Change, parameter

NODE_NAME = 'pose_graph'
sigmas = partial(parameter, minimum=1e-6, maximum=1e3, lengths=(2,))


@dataclass(frozen=True)
class KeyframeParams:
    """When odometry becomes a keyframe: whichever comes first."""
    distance: float = parameter(1.0, 'm since the last keyframe.', minimum=0.0, maximum=1e3)
    angle: float = parameter(0.3, 'rad since the last keyframe.', minimum=0.0, maximum=3.2)
    time: float = parameter(5.0, 's since the last keyframe; 0 = time alone makes none.', minimum=0.0, maximum=3600.0)


@dataclass(frozen=True)
class OptimizerParams:
    """Limits of one solve."""
    max_iterations: int = parameter(10, 'Iterations of one solve.', minimum=1, maximum=1000)
    time_budget: float = parameter(0.0, 's after which a solve stops where it is; 0 = none.', minimum=0.0, maximum=60.0)


@dataclass(frozen=True)
class RobustParams:
    """Defence against wrong loop closures."""
    method: str = parameter(
        'huber', 'none; huber: a robust kernel; gnc: graduated non-convexity; pcm: the largest set of loops that agree '
        'pairwise.', choices=ROBUST)
    gate: float = parameter(0.999, 'Probability of the chi-square limit of an inlier (gnc, pcm).', minimum=0.5,
                            maximum=0.999999)
    huber_width: float = parameter(1.5, 'Standard deviations from where on huber yields.', minimum=0.1, maximum=100.0)


@dataclass(frozen=True)
class PoseGraphParams(CommonParams):
    """See each field."""
    map_frame: str = parameter('map', 'Frame of the graph; parent of odom_frame in TF.')
    odom_frame: str = parameter('odom', 'Frame that odometry must be in (header.frame_id).')
    base_frame: str = parameter('base_link', 'Frame whose pose is estimated.')
    keyframe: KeyframeParams = field(default_factory=KeyframeParams)
    optimizer: OptimizerParams = field(default_factory=OptimizerParams)
    robust: RobustParams = field(default_factory=RobustParams)
    odometry_sigma: tuple[float, ...] = sigmas(
        (0.01, 0.005), 'm and rad of a link between keyframes, whatever the way; used where the covariance of '
        'odometry does not grow with the way.')
    odometry_drift: tuple[float, ...] = parameter(
        (0.02, 0.02), 'Added to it: m per m, and rad per rad (a tenth of it per m).', minimum=0.0, maximum=10.0,
        lengths=(2,))
    use_imu_factors: bool = parameter(
        False, 'Link keyframes by the samples of imu_preintegration too, where that runs in the same process. The '
        'odometry should then not contain that IMU, or have wide sigmas: it would count twice.')
    odometry_model: str = parameter(
        '', 'Weights of an OdometryUncertainty, which then says how far each odometry link is trusted, whatever its '
        'source states; empty = none.')
    odometry_model_class: str = parameter(
        '', 'Class of your own that odometry_model is of, package.module:Class; empty = OdometryUncertainty.')
    loop_sigma: tuple[float, ...] = sigmas(
        (0.1, 0.05), 'm and rad of a loop closure whose information is all zeros (unknown).')
    pose_sigma: tuple[float, ...] = sigmas(
        (0.05, 0.02), 'm and rad of a `pose` whose covariance is all zeros (unknown).')
    gnss_sigma: tuple[float, ...] = sigmas(
        (2.0, 4.0), 'm, horizontal and vertical, of a `fix` whose covariance is unknown.')
    gnss_lever: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), 'Position of the antenna in base_frame, m.', minimum=-1e3, maximum=1e3, lengths=(3,))
    gnss_baseline: float = parameter(
        5.0, 'm that fixes must span before they give the map its heading.', minimum=0.0, maximum=1e5)
    datum: tuple[float, ...] = parameter(
        (), 'Latitude, longitude (degrees) and height (m) of the map\'s origin; empty = the first fix.',
        minimum=-1e5, maximum=1e5, lengths=(0, 3))
    stamp_tolerance: float = parameter(
        0.5, 's between a measurement and the odometry or keyframe nearest to it.', minimum=0.0, maximum=60.0)
    pending_timeout: float = parameter(
        10.0, 's of odometry missing beyond which a measurement that waited for it is dropped.', minimum=0.0,
        maximum=3600.0)
    max_nodes: int = parameter(0, 'Keyframes after which no more are made; 0 = no limit.', minimum=0,
                               maximum=100_000_000)
    odom_timeout: float = parameter(
        1.0, 's of the steady clock without odometry until TF stops and it is said.', minimum=0.05, maximum=3600.0)
    publish_tf: bool = parameter(True, 'Broadcast map -> odom; exactly one node of a robot may.', change=Change.ANY)
    tf_rate: float = parameter(20.0, 'Hz of map -> odom.', minimum=0.1, maximum=1000.0)
    transform_tolerance: float = parameter(
        0.1, 's by which map -> odom is dated into the future, so that consumers need not wait.', minimum=0.0,
        maximum=10.0, change=Change.ANY)
    publish_period: float = parameter(
        1.0, 's at least between two publications of the whole graph, its path and its markers.', minimum=0.0,
        maximum=3600.0, change=Change.ANY)
    autosave_on_shutdown: str = parameter(
        '', 'File to save the session to at deactivation and shutdown (.g2o or .tum); empty = not saved.')
    load_on_start: str = parameter('', 'Session to go on with (.g2o); empty = a new one.')


def back_end_config(params: PoseGraphParams) -> BackEndConfig:
    """The estimator's configuration. ValueError where parameters contradict each other."""
    names = ('odometry_sigma', 'odometry_drift', 'loop_sigma', 'pose_sigma', 'gnss_sigma', 'gnss_lever',
             'gnss_baseline', 'stamp_tolerance', 'pending_timeout', 'max_nodes')
    return BackEndConfig(
        keyframe_distance=params.keyframe.distance, keyframe_angle=params.keyframe.angle,
        keyframe_time=params.keyframe.time, max_iterations=params.optimizer.max_iterations,
        time_budget=params.optimizer.time_budget, robust=params.robust.method, gate=params.robust.gate,
        huber_width=params.robust.huber_width,
        odometry_model=load_odometry_model(
            params.odometry_model, params.odometry_model_class) if params.odometry_model else None,
        **{name: getattr(params, name) for name in names})


def check(params: PoseGraphParams) -> None:
    """ValueError where parameters contradict each other."""
    back_end_config(params)
    if params.use_imu_factors and params.robust.method == 'pcm':
        raise ValueError('robust.method: pcm compares poses and cannot be had together with use_imu_factors')
    frames = (params.map_frame, params.odom_frame, params.base_frame)
    if len(set(frames)) < 3 or not all(frames):
        raise ValueError(f'map_frame, odom_frame and base_frame must be three different names, not {frames}')
