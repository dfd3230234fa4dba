"""The closed loop: the robot drives on its own estimate, through the middleware and through the core classes alone."""
import numpy as np
import pytest

from pypose_core.online.path_tracking import PathTrackerConfig, TrackingStatus
from pypose_ros.sim.config import SimulatorConfig
from pypose_ros.sim.core_loop import drive
from pypose_ros.sim.course import Course, office_patrol

CONFIG = PathTrackerConfig(frequency=50.0)


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
    # Both err with the estimate's drift; what is left is the controllers' own.
    assert ours.rmse < theirs.rmse
