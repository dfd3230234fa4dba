"""The closed loop: the robot drives on its own estimate, through the middleware and through the core classes alone."""
import numpy as np
import pytest

from pypose_core.online.path_tracking import PathTrackerConfig, TrackingStatus
from pypose_ros.sim.closed_loop import ClosedLoopConfig, run_closed_loop
from pypose_ros.sim.config import SimulatorConfig
from pypose_ros.sim.core_loop import drive
from pypose_ros.sim.course import Course, office_patrol
from pypose_ros.sim.report import write_report

GOAL = (2.0, -0.8, 0.0)
CONFIG = PathTrackerConfig(frequency=50.0)


def test_all_nodes_in_one_process_drive_the_robot_to_its_goal_and_the_report_tells(tmp_path):
    """Simulator, IMU smoother, back-end, loop detector and controller, through DDS."""
    patient = {'mpc_controller': {'odom_timeout': 2.0, 'failure_tolerance': 10.0}}      # a machine may be busy
    live = run_closed_loop(ClosedLoopConfig(length=2.5, boxes=0, frequency=20.0, parameters=patient), tmp_path)
    assert live.reached and live.collisions == 0
    assert np.hypot(*(live.truth[-1, 1:3] - live.course.path[-1, :2])) < 0.3
    assert np.abs(live.commands[:, 2]).max() > 0.5 and not live.commands[-1, 2:].any()
    assert len(live.estimate) > 100 and live.error(live.estimate)[-1] < 0.2
    numbers = write_report(tmp_path / 'results', live)
    assert numbers['goal_reached'] and numbers['commands'] == len(live.commands)
    page = (tmp_path / 'results' / 'report.html').read_text()
    assert page.count('<svg') == 4 and 'nan' not in page.lower().split('</style>')[1].split('<svg')[0]
    assert (tmp_path / 'results' / 'overview.png').stat().st_size > 10_000


def test_the_robot_drives_to_a_goal_along_what_the_planner_found(tmp_path):
    """The walls on `map`, the goal on `goal_pose`, and nobody but the planner on `plan`."""
    patient = {'mpc_controller': {'odom_timeout': 2.0, 'failure_tolerance': 10.0}}
    live = run_closed_loop(ClosedLoopConfig(goal=GOAL, boxes=0, frequency=20.0, parameters=patient), tmp_path)
    assert live.reached and live.collisions == 0
    assert np.hypot(*(live.truth[-1, 1:3] - GOAL[:2])) < 0.3
    assert 'beside the robot' in live.diagnostics['planner']['last plan']


@pytest.mark.slow
def test_the_robot_drives_on_its_own_estimate_around_a_box_to_the_goal():
    course = office_patrol(0)
    out = drive(Course(course.walls, course.path[:150]), SimulatorConfig(seed=0), CONFIG)
    assert out.status is TrackingStatus.REACHED and out.collisions == 0 and out.within(CONFIG)
    assert 0.3 < np.abs(out.cross_track).max() < 1.0       # it went around the box and came back
    assert out.goal_error < CONFIG.goal.xy * 1.5 and out.drift < 0.2
    assert out.clearance > 0.1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize('seed', range(20))
def test_every_seed_reaches_its_goal_without_a_collision_and_within_all_limits(seed):
    out = drive(office_patrol(seed), SimulatorConfig(seed=seed), CONFIG)
    assert out.status is TrackingStatus.REACHED and out.collisions == 0 and out.within(CONFIG)
    assert out.goal_error < CONFIG.goal.xy * 1.5 and out.clearance > 0.05


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_obstacles_it_keeps_closer_to_the_way_than_pure_pursuit():
    course = office_patrol(0, boxes=0, pillars=False)
    ours, theirs = (drive(course, SimulatorConfig(seed=0), CONFIG, pursuit=pursuit) for pursuit in (False, True))
    assert ours.status is theirs.status is TrackingStatus.REACHED
    ours, theirs = (np.sqrt(np.mean(o.own_track ** 2)) for o in (ours, theirs))
    assert ours < 0.03 and ours < theirs
