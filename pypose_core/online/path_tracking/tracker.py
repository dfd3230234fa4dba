"""A path-tracking controller: in each cycle an optimal control problem about the path ahead and the obstacles near it.

    tracker = PathTracker(PathTrackerConfig(frequency=50))
    tracker.set_path(poses)                          # (N, 3) x, y, heading
    each odometry:   tracker.add_odometry(stamp_ns, pose, twist)
    each costmap:    tracker.set_costmap(cells, resolution, origin)
    each period:     command = tracker.command(now_ns)

Whatever goes wrong, the command is zero velocity, and its status says why; `failure_tolerance` seconds of that and the
path is given up.
"""
from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.control import LookupTable, OcpResult, OcpStats
from pypose_core.geometry import DistanceField
from pypose_core.online.path_tracking import reference
from pypose_core.online.path_tracking.config import PathTrackerConfig
from pypose_core.online.path_tracking.detour import detour
from pypose_core.online.path_tracking.goal_checker import GoalChecker
from pypose_core.online.path_tracking.path import ReferencePath, wrapped
from pypose_core.online.path_tracking.prediction import CommandHistory
from pypose_core.online.path_tracking.problem import TrackingProblem
from pypose_core.online.path_tracking.verdict import PathVerdict, TrackingStatus

FIELD_LIMIT = 2.0           # m; distances beyond it do not matter
TURN_ON_SPOT, TURNED = 1.0, 0.3     # rad between robot and path, where turning on the spot begins and ends
NEAR_BEGIN = 0.5            # m between robot and path within which it is taken to stand at its beginning
STOP_BEFORE = 0.3           # m before what cannot be passed
TOUCHING = 0.03             # m by which a planned trajectory may be nearer than the radius
LEAST_CLEARANCE = 0.02      # m that are kept of it where the goal itself is nearer to an obstacle
BESIDE_AFTER = 1.0          # s without progress at the end of the path, after which the goal is headed for
FORGET = 0.5                # s after which the command before says nothing about the speed


@dataclass(frozen=True)
class Command:
    """The outcome of one cycle."""

    twist: NDArray[np.float64]
    """(3,) m/s ahead, m/s to the left, rad/s: what to command."""
    status: TrackingStatus
    reason: str = ''
    """A sentence where the status needs one."""
    cause: TrackingStatus | None = None
    """What patience ended about."""
    distance: float = math.nan
    """m of the path that are left."""
    cross_track: float = math.nan
    """m to the left of the path."""
    result: OcpResult | None = None
    """Of the solver, where it was asked."""
    seconds: float = 0.0
    """Time that the cycle took."""


class PathTracker:
    """See the module. Everything is given in one frame, in which odometry is; the path may have a frame of its own."""

    def __init__(self, config: PathTrackerConfig | None = None):
        self.config = config or PathTrackerConfig()
        self._table = LookupTable(self.config.map_cells)
        self.problem = TrackingProblem(self.config, self._table)
        self._checker = GoalChecker(self.config.goal)
        self._history = CommandHistory(self.config.delay)
        self._speed_limit = math.inf
        self.reset()

    def warm_up(self) -> None:
        """Do once what a first cycle would be slow for: imports, allocations. Forgets everything."""
        cells = np.zeros((40, 40), np.int8)
        cells[20, 20] = 100
        self.set_costmap(cells, 0.05, (0.0, -1.0, 0.0))
        self.add_odometry(0, np.zeros(3), np.zeros(3))
        self.set_path(np.array([[0.0, 0, 0], [2.0, 0, 0]]))
        self.command(0)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the speed limit."""
        self.path: ReferencePath | None = None
        """In the frame of odometry."""
        self._own: ReferencePath | None = None
        self._placed = (0.0, 0.0, 0.0)
        self._odometry: tuple[int, NDArray, NDArray] | None = None
        self._history.clear()
        self._mapped = False
        self._table.clear()
        self._before = np.zeros(3)
        self._before_ns = -10 ** 18
        self._begin(None)

    def _begin(self, path: ReferencePath | None, s: float = 0.0) -> None:
        self.path, self.s = path, s
        self._checker.reset()
        self._warm = self._turning = False
        self._clearance = self.config.clearance
        self._failing = 0.0         # s
        self._mark = (s, 0.0)       # place and heading at which progress was seen last
        self._stuck = 0.0           # s since
        self._beside = False        # came to rest beside the goal

    # --- inputs ----------------------------------------------------------------------------------

    def set_path(self, poses: NDArray) -> PathVerdict:
        """Follow a new path from the place on it that is nearest to the robot, without stopping.

        Args:
            poses: (N, 3) x, y, heading in the path's frame (`place_path`); its last heading is the goal's.
        """
        poses = np.asarray(poses, float)
        if poses.size == 0:
            return PathVerdict.EMPTY
        if not np.isfinite(poses).all():
            return PathVerdict.NOT_FINITE
        own = ReferencePath(poses)
        if self.config.goal.yaw <= 0:
            own.goal[2] = own.headings[-1]
        before = None if self.path is None else self._own
        if before is not None and np.array_equal(own.points, before.points) and own.goal[2] == before.goal[2]:
            return PathVerdict.ACCEPTED     # the one that is being followed, said again
        path = own.moved(*self._placed)
        s = 0.0
        if self._odometry is not None:
            position = self._odometry[1][:2]
            # Near its beginning first: a path of several laps passes the same places again.
            s, offset = path.project(position, end=min(path.length, self.config.lookahead))
            if abs(offset) > NEAR_BEGIN:
                s, offset = path.project(position)
            if abs(offset) > self.config.max_distance:
                return PathVerdict.TOO_FAR
        self._own = own
        self._begin(path, s)
        return PathVerdict.ACCEPTED

    def place_path(self, x: float, y: float, heading: float) -> None:
        """Where the path's frame lies in that of odometry; it may move while the path is followed."""
        placed = (float(x), float(y), float(heading))
        if placed == self._placed or not np.isfinite(placed).all():
            return
        self._placed = placed
        if self.path is not None and self._own is not None:
            self.path = self._own.moved(*placed)

    def cancel(self) -> None:
        """Give the path up; the next command is zero."""
        self._begin(None)

    def set_speed_limit(self, limit: float) -> None:
        """m/s; 0 or less: none."""
        self._speed_limit = limit if limit > 0 else math.inf

    def set_costmap(self, cells: NDArray, resolution: float, origin: tuple[float, float, float]) -> PathVerdict:
        """Obstacles: a grid (Y, X), and x, y, heading of its first corner in the frame of odometry."""
        cells = np.asarray(cells)
        if cells.ndim != 2 or min(cells.shape) < 2 or not (resolution > 0 and np.isfinite([resolution, *origin]).all()):
            return PathVerdict.BAD_GRID
        if cells.size > self.config.map_cells:
            return PathVerdict.TOO_LARGE
        occupied = torch.from_numpy(cells >= self.config.occupied)
        self._table.update(DistanceField.from_occupancy(occupied, resolution=float(resolution), limit=FIELD_LIMIT),
                           pose=origin)
        self._mapped = bool(occupied.any())
        return PathVerdict.ACCEPTED

    def add_odometry(self, stamp_ns: int, pose: NDArray, twist: NDArray) -> bool:
        """Where the robot is (3,) and how it moves, in its own frame (3,); False where that is not finite."""
        if not (np.isfinite(pose).all() and np.isfinite(twist).all()):
            return False
        pose = np.array(pose, float)
        if self._odometry is not None:      # a heading that wraps would tear the warm start apart
            before = self._odometry[1][2]
            pose[2] = before + wrapped(pose[2] - before)
        self._odometry = stamp_ns, pose, np.array(twist, float)
        return True

    # --- output ----------------------------------------------------------------------------------

    def command(self, now_ns: int) -> Command:
        """One cycle, to be called at `frequency`."""
        begin = time.perf_counter()
        status, reason, twist, result = self._cycle(now_ns)
        period, cause = 1 / self.config.frequency, status
        if status is TrackingStatus.TRACKING:
            self._failing = 0.0
            status, reason = self._progress(period)
        elif status not in (TrackingStatus.IDLE, TrackingStatus.REACHED):
            self._failing += period
            tolerance = self.config.failure_tolerance
            if 0 <= tolerance < self._failing:
                status, reason = TrackingStatus.PATIENCE, f'{reason or status}, for {self._failing:.2f} s'
        distance = offset = math.nan
        if self.path is not None and self._odometry is not None:
            distance = self.path.length - self.s
            offset = self.path.project(self._odometry[1][:2], self.s - 0.5, self.s + 0.5)[1]
        if status is not TrackingStatus.TRACKING:
            twist, self._warm = np.zeros(3), False
            if status.failed or status is TrackingStatus.REACHED:
                self._begin(None, self.s)
        self._before, self._before_ns = twist, now_ns
        self._history.add(now_ns, twist)
        return Command(twist, status, reason, cause, distance, offset, result, time.perf_counter() - begin)

    def _cycle(self, now_ns: int) -> tuple[TrackingStatus, str, NDArray, OcpResult | None]:
        zero, config = np.zeros(3), self.config
        if self.path is None:
            return TrackingStatus.IDLE, '', zero, None
        if self._odometry is None:
            return TrackingStatus.NO_ODOMETRY, 'no odometry yet', zero, None
        stamp_ns, measured, twist = self._odometry
        age = (now_ns - stamp_ns) * 1e-9
        if abs(age) > config.odom_timeout:
            return TrackingStatus.NO_ODOMETRY, f'the newest odometry is {age:.2f} s old', zero, None
        pose = self._history.predict(stamp_ns, measured, twist, now_ns)
        self.s, offset = self.path.project(pose[:2], self.s - 0.3, self.s + config.lookahead)
        reached = self._checker(measured, twist, self.path.goal, self.path.length - self.s)
        if reached and self._nearly_stopped():
            return TrackingStatus.REACHED, '', zero, None
        before = self._commanded(now_ns, twist)
        poses, speeds, turns = self._reference(pose, offset, before)
        result = self._solve(pose, before, poses, speeds, turns)
        problem = self._judge(pose, result)
        if problem and self._warm:      # once more without memory
            self._warm = False
            result = self._solve(pose, before, poses, speeds, turns)
            problem = self._judge(pose, result)
        if problem:
            return *problem, zero, result
        self._warm = True
        control = result.controls[0]
        found = np.array([control[0], control[1] if len(control) == 3 else 0.0, control[-1]])
        return TrackingStatus.TRACKING, '', found, result

    def _nearly_stopped(self) -> bool:
        """Whether a zero command keeps to the limits of acceleration."""
        limits, period = self.config.limits, 1 / self.config.frequency
        return bool(np.hypot(*self._before[:2]) <= limits.max_acceleration * period
                    and abs(self._before[2]) <= limits.max_turn_acceleration * period)

    def _commanded(self, now_ns: int, twist: NDArray) -> NDArray:
        """(controls,) the command before, or the speed that is measured where there was none lately."""
        recent = 0 <= now_ns - self._before_ns < FORGET * 1e9
        before = self._before
        if not recent or (before.any() and not self._warm):
            # What is slower than a standing robot's estimate errs by is no speed.
            before = twist if np.hypot(*twist[:2]) > self.config.goal.stopped_speed else np.zeros(3)
        return before if self.problem.controls == 3 else before[[0, 2]]

    def _reference(self, pose: NDArray, offset: float, before: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        config, path, own = self.config, self.path, self._own
        assert path is not None and own is not None     # _cycle() asks only with a path
        count = config.horizon + 1
        spot = config.model != 'ackermann'
        if spot and self._checker.near:
            wish = path.goal[2] if config.goal.yaw > 0 else pose[2]
            return reference.turning(pose, wish, count)
        way, place, end = path, self.s, path.length
        self._clearance = config.clearance
        beside = self._way_from_beside(pose, path) if spot else None
        if beside is not None:
            way, place, end, self._clearance = beside, 0.0, beside.length, LEAST_CLEARANCE
        elif self._mapped:
            ahead = max(config.limits.max_speed, 0.5) * config.dt * config.horizon + 0.5
            if self.s + ahead >= path.length:
                self._clearance = self._clearance_at_goal(path.goal)
            found = detour(path, self.s, offset, ahead, self._table, radius=config.radius, clearance=self._clearance)
            if found is not None:
                way, end = found
                place = 0.0
                end = end if end >= way.length else max(end - STOP_BEFORE, 0.0)
        heading = way.sample(np.array([place]))[1][0]
        if spot and config.model != 'omni':
            error = abs(wrapped(pose[2] - heading))
            limit = TURNED if self._turning else TURN_ON_SPOT
            self._turning = error > limit and path.length - self.s > config.goal.xy
            if self._turning:
                return reference.turning(pose, heading, count)
        if self._profile_of is not own:
            self._profile, self._profile_of = reference.SpeedProfile(own, config), own
        profile = self._profile
        if way is not path:
            profile = reference.SpeedProfile(way, config, final=profile(self.s + way.length))
        ahead = float(before[0] if self.problem.controls == 2 else np.hypot(before[0], before[1]))
        places, speeds = reference.advance(profile, place, ahead, config, limit=self._speed_limit, end=max(end, place))
        return reference.along_path(way, places, speeds, pose[2])

    _profile_of: ReferencePath | None = None

    def _way_from_beside(self, pose: NDArray, path: ReferencePath) -> ReferencePath | None:
        """Straight to the goal, once the robot has come to rest beside the end: an obstacle near it pushed it off."""
        if path.length - self.s > 2 * self.config.goal.xy:
            self._beside = False
        elif self._stuck > BESIDE_AFTER:
            self._beside = True
        if not self._beside:
            return None
        to = path.goal[:2] - pose[:2]
        way = ReferencePath(np.stack([pose, [*path.goal[:2], np.arctan2(to[1], to[0])]]))   # turned only once there
        line = pose[:2] + np.linspace(0, 1, 8)[:, None] * to
        free = not self._mapped or bool((self._table.at(line) >= self.config.radius).all())
        return way if free else None

    def _clearance_at_goal(self, goal: NDArray) -> float:
        """What of the clearance the goal itself leaves: who puts it beside a wall wants the robot there.

        Where drift has moved the goal into the wall by less than its tolerance, the robot gets near enough.
        """
        clearance = self.config.clearance
        room = float(self._table.at(goal[None, :2])[0]) - self.config.radius
        return min(clearance, max(room, LEAST_CLEARANCE)) if room > -self.config.goal.xy else clearance

    def _solve(self, pose: NDArray, before: NDArray, poses: NDArray, speeds: NDArray, turns: NDArray) -> OcpResult:
        controls = np.zeros((len(poses), self.problem.controls))
        controls[:, -1] = turns
        if self.config.model == 'omni':     # the way may lie across the body's heading
            turn = np.arctan2(*np.gradient(poses[:, :2], axis=0).T[::-1]) - poses[:, 2]
            controls[:, 0], controls[:, 1] = speeds * np.cos(turn), speeds * np.sin(turn)
        else:
            controls[:, 0] = speeds
        near = np.array([self.config.radius + self._clearance])
        given: dict[str, Any] = {
            'u_prev': before, 'bounds': self.problem.bounds(before, self._speed_limit),
            'parameters': {'pose': poses, 'speeds': controls, 'near': near}}
        if self._warm:
            return self.problem.ocp.solve(pose, start='keep', **given)
        return self.problem.ocp.solve(pose, start='roll', guess=(poses, controls[:-1]), **given)

    def _judge(self, pose: NDArray, result: OcpResult) -> tuple[TrackingStatus, str] | None:
        """Why a solution must not be driven, or None."""
        states, controls, stats = result.states, result.controls, result.stats
        assert isinstance(stats, OcpStats)      # of one problem
        if not (np.isfinite(states).all() and np.isfinite(controls).all()) or stats.defect > 0.05:
            return TrackingStatus.NO_SOLUTION, str(result)
        if self._mapped:
            soon = states[:max(2, math.ceil(0.8 / self.config.dt)), :2]
            distance = self._table.at(soon)
            least = min(self.config.radius - TOUCHING, float(distance[0]) - 1e-3)     # from inside, out is allowed
            if (distance[1:] < least).any():
                return TrackingStatus.BLOCKED, f'the trajectory comes within {distance.min():.2f} m of an obstacle'
        return None

    def _progress(self, period: float) -> tuple[TrackingStatus, str]:
        """TRACKING, or NO_PROGRESS where nothing was gained for too long."""
        assert self._odometry is not None       # TRACKING
        limits, heading = self.config.progress, float(self._odometry[1][2])
        if self.s - self._mark[0] >= limits.radius or abs(wrapped(heading - self._mark[1])) >= max(limits.radius, 0.2):
            self._mark, self._stuck = (self.s, heading), 0.0
        else:
            self._stuck += period
        if limits.time > 0 and self._stuck > limits.time:
            return TrackingStatus.NO_PROGRESS, f'less than {limits.radius} m gained in {limits.time} s'
        return TrackingStatus.TRACKING, ''
