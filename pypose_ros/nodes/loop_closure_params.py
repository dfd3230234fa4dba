"""The parameters of loop_closure, for the node and for the docs."""
from dataclasses import dataclass

from pypose_core.online.loop_detector import LoopDetectorConfig
from pypose_ros.common_params import CommonParams
from pypose_ros.params import parameter

NODE_NAME = 'loop_closure'


@dataclass(frozen=True)
class LoopClosureParams(CommonParams):
    """See each field."""
    odom_frame: str = parameter('odom', 'Frame that odometry must be in (header.frame_id).')
    base_frame: str = parameter('base_link', 'Frame of the robot; scans are brought to it through static transforms.')
    distance: float = parameter(0.5, 'm between scans that are kept.', minimum=0.0, maximum=100.0)
    angle: float = parameter(0.5, 'rad between scans that are kept.', minimum=0.0, maximum=3.2)
    search_radius: float = parameter(
        3.0, 'm around the present estimate in which loops are looked for.', minimum=0.0, maximum=1e3)
    drift: float = parameter(0.02, 'm that the radius grows by for each metre driven.', minimum=0.0, maximum=1.0)
    min_way: float = parameter(10.0, 'm driven between the two ends of a loop.', minimum=0.0, maximum=1e4)
    max_candidates: int = parameter(3, 'Kept scans that are laid over a new one.', minimum=1, maximum=100)
    max_range: float = parameter(20.0, 'm; farther points are not used.', minimum=0.5, maximum=300.0)
    voxel: float = parameter(0.1, 'm; scans are thinned to one point in each voxel.', minimum=0.01, maximum=5.0)
    max_points: int = parameter(2000, 'Points of a scan after thinning.', minimum=50, maximum=100_000)
    descriptor_limit: float = parameter(
        0.45, 'Largest difference of descriptors that is looked into, 0 to 1.', minimum=0.0, maximum=1.0)
    max_distance: float = parameter(0.5, 'm between matched points.', minimum=0.01, maximum=10.0)
    min_overlap: float = parameter(0.6, 'Share of points that must find a match.', minimum=0.05, maximum=1.0)
    max_rmse: float = parameter(0.12, 'm by which matched points may differ.', minimum=0.001, maximum=5.0)
    sigma: tuple[float, ...] = parameter(
        (0.03, 0.01), 'm and rad added to the uncertainty that ICP computes, which is too good.', minimum=1e-6,
        maximum=10.0, lengths=(2,))
    verifier: str = parameter(
        '', 'Weights of a LoopVerifier: it weighs the loops that the limits let through; empty = all count fully.')
    verifier_class: str = parameter(
        '', 'Class of your own that verifier is of, package.module:Class; empty = LoopVerifier.')
    min_weight: float = parameter(0.1, 'Of the verifier, below which a loop is refused.', minimum=0.0, maximum=1.0)
    queue: int = parameter(10, 'Scans that may wait; more are skipped and counted.', minimum=1, maximum=1000)


def detector_config(params: LoopClosureParams) -> LoopDetectorConfig:
    names = ('distance', 'angle', 'search_radius', 'drift', 'min_way', 'max_candidates', 'max_range', 'voxel',
             'max_points', 'descriptor_limit', 'max_distance', 'min_overlap', 'max_rmse', 'sigma', 'min_weight')
    return LoopDetectorConfig(**{name: getattr(params, name) for name in names})
