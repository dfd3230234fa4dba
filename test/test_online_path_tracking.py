"""The path-tracking controller: its parts against closed forms, and driven in closed loop with a plant of its own."""
import itertools
from collections import deque

import numpy as np
import pytest
import torch

from pypose_core.control import LookupTable
from pypose_core.geometry import DistanceField
from pypose_core.online.path_tracking import (
    Goal,
    Limits,
    PathTracker,
    PathTrackerConfig,
    PathVerdict,
    Progress,
    ReferencePath,
    TrackingStatus,
)
from pypose_core.online.path_tracking.detour import _cheapest_way, detour
from pypose_core.online.path_tracking.prediction import CommandHistory, moved
from pypose_core.online.path_tracking.reference import SpeedProfile

T0 = 10 ** 18
LINE = np.array([[0.1 * k, 0.0, 0.0] for k in range(61)])
ARC = np.array([[2 * np.sin(a), 2 * (1 - np.cos(a)), a] for a in np.linspace(0, 1.5 * np.pi, 100)])


class Plant:
    """A robot that does exactly what it was told `delay` ago."""

    def __init__(self, tracker: PathTracker, *, pose=(0.0, 0.0, 0.0), delay: float | None = None):
        self.tracker, self.pose, self.now = tracker, np.array(pose, float), T0
        self.period = 1 / tracker.config.frequency
        delay = tracker.config.delay if delay is None else delay
        self._under_way = deque([np.zeros(3)] * round(delay / self.period))
        self.twist = np.zeros(3)
        self.commands, self.way, self.twists = [], [], []

    def drive(self, seconds: float, *, odometry: bool = True, until=None):
        """The last command."""
        for _ in range(round(seconds / self.period)):
            if odometry:
                self.tracker.add_odometry(self.now, self.pose, self.twist)
            command = self.tracker.command(self.now)
            self.commands.append(command)
            self.twists.append(command.twist)
            self.way.append(self.pose)
            self._under_way.append(command.twist)
            self.twist = self._under_way.popleft()
            self.pose = moved(self.pose, self.twist, self.period)
            self.now += round(self.period * 1e9)
            if command.status is until:
                break
        return self.commands[-1]

    def keeps_limits(self) -> None:
        limits, twists = self.tracker.config.limits, np.array(self.twists)
        assert twists[:, 0].max() <= limits.max_speed + 1e-6 and twists[:, 0].min() >= limits.min_speed - 1e-6
        assert np.abs(twists[:, 2]).max() <= limits.max_turn_rate + 1e-6
        changes = np.abs(np.diff(np.concatenate([np.zeros((1, 3)), twists]), axis=0)) / self.period
        assert changes[:, :2].max() <= limits.max_acceleration + 1e-3
        assert changes[:, 2].max() <= limits.max_turn_acceleration + 1e-3


def made(**kwargs) -> PathTracker:
    return PathTracker(PathTrackerConfig(**kwargs))


def grid(*boxes, size=8.0, resolution=0.05):
    """(cells, resolution, origin) with boxes (x0, y0, x1, y1) occupied, about (size/2 - 1, 0)."""
    n, origin = round(size / resolution), (-1.0, -size / 2)
    x, y = (origin[i] + resolution * (np.arange(n) + 0.5) for i in (0, 1))
    cells = np.zeros((n, n), np.int8)
    for x0, y0, x1, y1 in boxes:
        cells[np.ix_((y >= y0) & (y <= y1), (x >= x0) & (x <= x1))] = 100
    return cells, resolution, (*origin, 0.0)


# --- parts -----------------------------------------------------------------------------------------

def test_arc_length_projection_and_samples_of_an_arc_are_those_of_the_circle():
    path = ReferencePath(ARC)
    assert path.length == pytest.approx(3 * np.pi, rel=1e-3)
    for angle, radius in ((0.5, 1.8), (2.0, 2.3)):
        s, offset = path.project(np.array([radius * np.sin(angle), 2 - radius * np.cos(angle)]))
        assert s == pytest.approx(2 * angle, abs=0.01) and offset == pytest.approx(2 - radius, abs=5e-3)
    points, headings, curvature = path.sample(np.array([1.0, 4.0]))
    np.testing.assert_allclose(points, [[2 * np.sin(s / 2), 2 - 2 * np.cos(s / 2)] for s in (1.0, 4.0)], atol=2e-3)
    np.testing.assert_allclose(headings, [0.5, 2.0], atol=0.02)
    np.testing.assert_allclose(curvature, 0.5, rtol=0.05)


def test_a_path_that_crosses_itself_is_followed_lap_by_lap():
    laps = np.concatenate([ARC[:-1], ARC[:-1] + [0, 0, 2 * np.pi]])
    full = np.array([[np.sin(a), 1 - np.cos(a), a] for a in np.linspace(0, 4 * np.pi, 200)])
    path = ReferencePath(full)
    at = np.array([0.0, 0.1])
    assert path.project(at, 0.0, 1.0)[0] < 0.2
    assert path.project(at, 5.5, 7.0)[0] == pytest.approx(2 * np.pi, abs=0.1)
    assert ReferencePath(laps).length > 0


def test_a_moved_path_is_the_same_path_in_another_frame():
    path, pose = ReferencePath(ARC), (1.0, -2.0, 2.5)
    other = path.moved(*pose)
    point = np.array([1.0, 0.5])
    c, s = np.cos(pose[2]), np.sin(pose[2])
    there = np.array([[c, -s], [s, c]]) @ point + pose[:2]
    np.testing.assert_allclose(other.project(there), path.project(point), atol=1e-12)
    np.testing.assert_allclose(other.goal[2] - path.goal[2], pose[2])


def test_prediction_replays_what_is_under_way():
    history, pose, given = CommandHistory(0.3), np.zeros(3), []
    for k in range(10):
        twist = np.array([0.1 * k, 0.0, 0.2 - 0.05 * k])
        given.append(twist)
        history.add(T0 + k * 100_000_000, twist)
    # Measured at 0.55: the command of 0.2 is active; the last was given at 0.9, its effect begins at 1.2.
    expected = moved(pose, given[2], 0.05)
    for k in range(3, 9):
        expected = moved(expected, given[k], 0.1)
    np.testing.assert_allclose(history.predict(T0 + 550_000_000, pose, given[2], T0 + 900_000_000), expected)


def test_the_speed_profile_can_be_driven():
    config = PathTrackerConfig()
    path = ReferencePath(np.concatenate([LINE, ARC[1:] + [6.0, 0, 0]]))
    profile = SpeedProfile(path, config)
    s = np.arange(0, path.length, 0.05)
    v = np.array([profile(x) for x in s])
    assert v.max() == pytest.approx(config.limits.max_speed) and profile(path.length) < 0.1
    braking = (v[:-1] ** 2 - v[1:] ** 2) / (2 * 0.05)
    assert braking.max() <= config.limits.max_acceleration
    curve = np.abs(path.sample(s)[2])
    assert (v ** 2 * curve).max() <= config.limits.max_lateral_acceleration * 1.01


@pytest.mark.parametrize('box, side', [((3.0, -0.5, 3.4, 0.2), 1), ((3.0, -0.2, 3.4, 0.5), -1)])
def test_the_detour_passes_where_the_way_is_shorter_and_keeps_its_distance(box, side):
    table = LookupTable(200 * 200)
    cells, resolution, origin = grid(box)
    table.update(DistanceField.from_occupancy(cells > 0, resolution=resolution), pose=origin)
    way, reach = detour(ReferencePath(LINE), 1.0, 0.0, 4.0, table, radius=0.25, clearance=0.2)
    assert reach == pytest.approx(way.length)
    assert side * way.points[np.abs(way.points[:, 1]).argmax(), 1] > 0.4
    assert table.at(way.points).min() > 0.25
    assert detour(ReferencePath(LINE), 1.0, 0.0, 1.0, table, radius=0.25, clearance=0.2) is None


def test_the_way_over_the_offsets_is_the_cheapest_of_all_ways():
    rng = np.random.default_rng(0)
    cost, start, change = rng.random((5, 6)), rng.random(6), np.array([0.3, 0.0, 0.5])
    found = _cheapest_way(*map(torch.from_numpy, (cost, start, change))).numpy()

    def total(way):
        steps = np.diff(way)
        if np.abs(steps).max() > 1:
            return np.inf
        return start[way[0]] + cost[range(1, 5), way[1:]].sum() + change[steps + 1].sum()
    assert total(found) == min(total(way) for way in itertools.product(range(6), repeat=5))
    with pytest.raises(RuntimeError, match='cheapest_way'):
        _cheapest_way(*map(torch.from_numpy, (cost, start[1:], change)))


# --- closed loop -----------------------------------------------------------------------------------

@pytest.mark.parametrize('model', ['unicycle', 'ackermann', 'omni'])
def test_an_arc_is_followed_closely_within_the_limits_to_a_stop_at_its_end(model):
    tracker = made(model=model, limits=Limits(wheelbase=0.3))
    assert tracker.set_path(ARC).accepted
    plant = Plant(tracker)
    last = plant.drive(25, until=TrackingStatus.REACHED)
    assert last.status is TrackingStatus.REACHED and not last.twist.any()
    plant.keeps_limits()
    offset = np.hypot(*(np.array(plant.way)[:, :2] - [0, 2]).T) - 2
    assert np.abs(offset).max() < 0.03
    assert np.linalg.norm(plant.pose[:2] - ARC[-1, :2]) < tracker.config.goal.xy
    assert len(plant.commands) < 1.6 * 20 * 3 * np.pi       # not much slower than the speed limit


def test_a_heading_that_wraps_is_no_jump():
    tracker = made()
    tracker.set_path(LINE * [-1, 1, 0] + [0, 0, np.pi])
    plant = Plant(tracker, pose=(0.0, 0.02, np.pi))
    for _ in range(60):
        tracker.add_odometry(plant.now, [*plant.pose[:2], np.arctan2(np.sin(plant.pose[2]), np.cos(plant.pose[2]))],
                             plant.twist)
        plant.drive(plant.period, odometry=False)
    headings = np.array(plant.way)[:, 2]
    assert (headings < np.pi).any() and (headings > np.pi).any()
    assert {command.status for command in plant.commands} == {TrackingStatus.TRACKING}
    plant.keeps_limits()


def test_delay_that_is_compensated_does_less_harm():
    errors = []
    for assumed in (0.3, 0.0):
        tracker = made(delay=assumed)
        tracker.set_path(ARC)
        plant = Plant(tracker, pose=(0.0, 0.3, 0.0), delay=0.3)
        plant.drive(8)
        errors.append(np.sqrt(np.mean((np.hypot(*(np.array(plant.way)[60:, :2] - [0, 2]).T) - 2) ** 2)))
    assert errors[0] < 0.02 and errors[1] > 2 * errors[0]


def test_a_box_dead_ahead_is_passed_without_touching_it():
    tracker = made()
    tracker.set_path(LINE)
    tracker.set_costmap(*grid((3.0, -0.2, 3.4, 0.2)))
    plant = Plant(tracker)
    assert plant.drive(15, until=TrackingStatus.REACHED).status is TrackingStatus.REACHED
    way = np.array(plant.way)[:, :2]
    to_box = np.hypot(*(way - np.clip(way, [3.0, -0.2], [3.4, 0.2])).T)
    assert to_box.min() > tracker.config.radius and np.abs(way[:, 1]).max() < 1.0
    plant.keeps_limits()


@pytest.mark.parametrize('box', [(4.9, 0.32, 5.5, 1.0), (5.33, -0.3, 5.6, 0.3), (5.28, 0.15, 5.6, 0.6)])
def test_a_goal_that_is_nearer_to_an_obstacle_than_the_clearance_is_reached(box):
    plant = Plant(made())
    plant.tracker.set_path(LINE[:51])
    assert plant.tracker.set_costmap(*grid(box)) is PathVerdict.ACCEPTED
    assert plant.drive(30.0, until=TrackingStatus.REACHED).status is TrackingStatus.REACHED
    assert plant.tracker._table.at(np.array(plant.way)[:, :2]).min() > plant.tracker.config.radius - 0.01
    plant.keeps_limits()


@pytest.mark.parametrize('pose', [(5.1, 0.15, 0.0), (5.14, 0.1, 0.0), (5.0, 0.18, 0.0)])
@pytest.mark.parametrize('box', [None, (4.2, -0.9, 5.0, -0.29)])
def test_a_robot_that_stands_beside_its_goal_turns_and_goes_there(pose, box):
    """It cannot go sideways: the end of the way alone would leave it there."""
    plant = Plant(made())
    plant.pose = np.array(pose)
    plant.tracker.set_path(LINE[:51])
    if box:
        plant.tracker.set_costmap(*grid(box))
    assert plant.drive(20.0, until=TrackingStatus.REACHED).status is TrackingStatus.REACHED
    assert np.hypot(*(plant.pose[:2] - [5.0, 0.0])) < plant.tracker.config.goal.xy
    plant.keeps_limits()


def test_a_wall_across_the_way_stops_the_robot_before_it_and_the_path_is_given_up():
    tracker = made(progress=Progress(time=2.0))
    tracker.set_path(LINE)
    tracker.set_costmap(*grid((3.0, -4.0, 3.4, 4.0)))
    plant = Plant(tracker)
    last = plant.drive(15, until=TrackingStatus.NO_PROGRESS)
    assert last.status is TrackingStatus.NO_PROGRESS and last.status.failed and not last.twist.any()
    assert 2.0 < plant.pose[0] < 3.0 - tracker.config.radius
    assert tracker.command(plant.now).status is TrackingStatus.IDLE


def test_an_obstacle_that_appears_right_before_the_robot_means_zero_at_once():
    tracker = made(failure_tolerance=-1.0)
    tracker.set_path(LINE)
    plant = Plant(tracker)
    plant.drive(2.0)
    x = plant.pose[0]
    tracker.set_costmap(*grid((x + 0.35, -3.0, x + 0.6, 3.0)))
    first = plant.drive(plant.period)
    assert first.status is TrackingStatus.BLOCKED and not first.twist.any() and 'obstacle' in first.reason
    plant.drive(2.0)
    assert plant.pose[0] < x + 0.15 and not plant.commands[-1].twist.round(6).any()


def test_a_robot_that_faces_the_wrong_way_turns_on_the_spot_first_and_at_the_end():
    tracker = made()
    path = LINE[:20].copy()
    path[-1, 2] = 1.5
    tracker.set_path(path)
    plant = Plant(tracker, pose=(0.0, 0.0, 3.0))
    assert plant.drive(20, until=TrackingStatus.REACHED).status is TrackingStatus.REACHED
    way = np.array(plant.way)
    assert np.abs(way[:, 1]).max() < 0.15 and way[:, 0].min() > -0.1
    assert abs(plant.pose[2] - 1.5) < 0.2 and np.abs(plant.pose[:2] - path[-1, :2]).max() < 0.15


def test_a_speed_limit_is_reached_by_braking_and_lifted_again():
    tracker = made()
    tracker.set_path(LINE)
    plant = Plant(tracker)
    plant.drive(2.0)
    tracker.set_speed_limit(0.3)
    plant.drive(2.0)
    slow = np.array(plant.twists)[-10:, 0]
    np.testing.assert_allclose(slow, 0.3, atol=0.02)
    assert slow.max() <= 0.3 + 1e-6
    tracker.set_speed_limit(0.0)
    plant.drive(1.0)
    plant.keeps_limits()
    assert plant.twists[-1][0] > 0.8


def test_a_frame_of_the_path_that_lies_elsewhere_changes_nothing_but_numbers():
    ways = []
    for pose in ((0.0, 0.0, 0.0), (3.0, -1.0, 2.0)):
        tracker = made()
        tracker.place_path(*pose)
        tracker.set_path(ARC)
        plant = Plant(tracker, pose=pose)
        plant.drive(4.0)
        c, s = np.cos(pose[2]), np.sin(pose[2])
        ways.append((np.array(plant.way)[:, :2] - pose[:2]) @ np.array([[c, -s], [s, c]]))
    np.testing.assert_allclose(*ways, atol=1e-3)


def test_without_recent_odometry_zero_is_commanded_and_then_the_path_is_given_up():
    tracker = made(odom_timeout=0.3, failure_tolerance=0.4)
    assert tracker.command(T0).status is TrackingStatus.IDLE
    tracker.set_path(LINE)
    assert tracker.command(T0).status is TrackingStatus.NO_ODOMETRY
    plant = Plant(tracker)
    plant.drive(1.5)
    plant.drive(0.25, odometry=False)
    assert plant.commands[-1].twist.any()
    late = plant.drive(2 * plant.period, odometry=False)
    assert late.status is TrackingStatus.NO_ODOMETRY and not late.twist.any() and 'old' in late.reason
    plant.drive(0.3)        # it comes back within the tolerance
    assert plant.commands[-1].status is TrackingStatus.TRACKING
    assert plant.drive(1.0, odometry=False).status is TrackingStatus.IDLE
    assert TrackingStatus.PATIENCE in {command.status for command in plant.commands}


def test_what_is_no_path_or_no_grid_is_refused_and_the_old_one_kept():
    tracker = made(map_cells=1000)
    tracker.set_path(LINE)
    tracker.add_odometry(T0, np.zeros(3), np.zeros(3))
    bad = LINE.copy()
    bad[3, 1] = np.nan
    assert tracker.set_path(np.empty((0, 3))) is PathVerdict.EMPTY
    assert tracker.set_path(bad) is PathVerdict.NOT_FINITE
    assert tracker.set_path(LINE + [0, 50, 0]) is PathVerdict.TOO_FAR
    assert tracker.path.length == pytest.approx(6.0)
    assert tracker.set_costmap(np.zeros((100, 100), np.int8), 0.05, (0, 0, 0)) is PathVerdict.TOO_LARGE
    for cells, resolution, x in ((np.zeros((0, 5)), 0.05, 0.0), (np.zeros((5, 5)), 0.0, 0.0),
                                 (np.zeros((5, 5)), 0.05, np.nan)):
        assert tracker.set_costmap(cells, resolution, (x, 0, 0)) is PathVerdict.BAD_GRID
    assert not tracker.add_odometry(T0, np.full(3, np.nan), np.zeros(3))
    assert tracker.set_path(LINE[20:21]).accepted     # a goal without a way


@pytest.mark.parametrize('wrong', [{'model': 'submarine'}, {'horizon': 1}, {'frequency': 5.0},
                                   {'limits': Limits(min_speed=0.5)},
                                   {'model': 'ackermann', 'limits': Limits(min_speed=-0.5)}])
def test_configurations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        PathTrackerConfig(**wrong)


def test_any_heading_will_do_where_none_is_asked_for():
    tracker = made(goal=Goal(yaw=0.0))
    path = LINE[:20].copy()
    path[-1, 2] = 3.0
    tracker.set_path(path)
    plant = Plant(tracker)
    assert plant.drive(10, until=TrackingStatus.REACHED).status is TrackingStatus.REACHED
    assert abs(plant.pose[2]) < 0.2
