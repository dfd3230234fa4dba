"""The parameters of planner, for the node and for the docs."""
from dataclasses import dataclass

from pypose_core.online.path_planner import PathPlannerConfig
from pypose_core.planning import PlanConfig
from pypose_core.planning.planner import STARTS
from pypose_ros.common_params import CommonParams
from pypose_ros.params import Change, parameter

NODE_NAME = 'planner'


@dataclass(frozen=True)
class PlannerParams(CommonParams):
    """See each field."""
    base_frame: str = parameter('base_link', 'Frame of the robot; where it is, is looked up in TF.')
    radius: float = parameter(0.25, 'm, of the robot.', minimum=0.0, maximum=10.0)
    clearance: float = parameter(
        0.2, 'm beyond the radius that are kept where there is room.', minimum=0.0, maximum=10.0)
    speed: float = parameter(0.5, 'm/s that the trajectory is made for.', minimum=0.01, maximum=50.0)
    acceleration: float = parameter(
        0.3, 'm/s^1.5, density of the acceleration: smaller is smoother.', minimum=0.001, maximum=100.0)
    start: str = parameter(
        'grid', 'Where the first way comes from: grid, the shortest over free cells; ompl, sampling, where OMPL is '
        'installed; straight.', choices=tuple(STARTS))
    tolerance: float = parameter(
        0.25, 'm by which a goal too near to an obstacle may be moved; ~/plan has its own.', minimum=0.0, maximum=10.0,
        change=Change.ANY)
    spacing: float = parameter(0.05, 'm between poses of a path.', minimum=0.005, maximum=1.0)
    time_limit: float = parameter(
        2.0, 's of one optimization, after which what was found by then is taken.', minimum=0.01, maximum=60.0)
    occupied: int = parameter(65, 'Cells of the map from this on are obstacles.', minimum=1, maximum=100)
    allow_unknown: bool = parameter(True, 'The way may lead over cells of which nothing is known.')
    map_cells: int = parameter(4_000_000, 'Cells of the largest map.', minimum=4, maximum=100_000_000)
    map_timeout: float = parameter(
        0.0, 's after which a map is too old to plan on; 0 = never, for a map that is published once.', minimum=0.0,
        maximum=3600.0, change=Change.ANY)


def planner_config(params: PlannerParams) -> PathPlannerConfig:
    plan = PlanConfig(**{name: getattr(params, name) for name in (
        'radius', 'clearance', 'speed', 'acceleration', 'start')})
    return PathPlannerConfig(plan=plan, **{name: getattr(params, name) for name in (
        'occupied', 'allow_unknown', 'map_cells', 'spacing', 'time_limit')})
