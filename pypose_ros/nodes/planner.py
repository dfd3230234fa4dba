"""planner: a path from where the robot is to where it is told to go, around what the map shows.

Around `pypose_core.online.path_planner.PathPlanner`: messages, TF, the service, Nav2's action, diagnostics.
"""
import sys
import time
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import OccupancyGrid, Path
from nav_msgs.srv import GetPlan
from std_srvs.srv import Trigger

from pypose_core.online.path_planner import PathPlanner
from pypose_core.planning import PlanVerdict
from pypose_ros import convert, diagnostics, qos, tf
from pypose_ros.configured import Configured
from pypose_ros.frames import planar
from pypose_ros.lifecycle import LifecycleNode
from pypose_ros.nodes.planner_params import NODE_NAME, PlannerParams, planner_config
from pypose_ros.run import run

UNKNOWN, TF_ERROR, TIMEOUT = 200, 202, 207      # of nav2_msgs/ComputePathToPose, as those of CODES
CODES = {PlanVerdict.PLANNED: 0, PlanVerdict.START_OUTSIDE: 203, PlanVerdict.GOAL_OUTSIDE: 204,
         PlanVerdict.START_OCCUPIED: 205, PlanVerdict.GOAL_OCCUPIED: 206, PlanVerdict.NO_WAY: 208,
         PlanVerdict.TOO_NEAR: 208}
QUATERNION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Answer:
    """To a request for a path."""

    path: Path
    """Empty where there is none."""
    code: int
    """0, or Nav2's error code."""
    sentence: str


class PlannerNode(LifecycleNode[PlannerParams]):
    """See docs/nodes/planner.md."""

    planner = Configured[PathPlanner]()

    def __init__(self, **kwargs):
        self._action = None
        super().__init__(NODE_NAME, PlannerParams, **kwargs)

    def configure(self) -> None:
        ends, params = self.endpoints, self.params
        self.planner = PathPlanner(planner_config(params))
        self._map_frame, self._mapped = '', 0.0     # and the steady time of the newest map
        self._last = Answer(Path(), 0, 'no request yet')
        self._latency = self.diagnostics.latency('plan')
        self._transforms = tf.TransformListener(
            ends, warn=lambda sentence: self.diagnostics.warn('tf', sentence), dynamic=True).buffer
        self._plan = ends.publisher(Path, 'plan', qos.STANDARD)
        self._shown = ends.publisher(Path, '~/path', qos.LATCHED)
        ends.service(GetPlan, '~/plan', self._on_request)
        ends.service(Trigger, '~/reset', self._reset)
        ends.subscription(OccupancyGrid, 'map', self._on_map, qos.LATCHED)
        ends.subscription(PoseStamped, 'goal_pose', self._on_goal, qos.SENSOR(1))
        try:
            from pypose_ros.nodes.planner_action import ComputePathServer
        except ImportError:     # no Nav2 beside us: the service and goal_pose are what there is
            return
        self._action = ComputePathServer(self, lambda start, goal: self.answer(start, goal, self.params.tolerance))

    def cleanup(self) -> None:
        if self._action is not None:
            self._action.destroy()
        self._action = self.planner = None

    # --- inputs ----------------------------------------------------------------------------------

    def _on_map(self, message: OccupancyGrid) -> None:
        self.diagnostics.rate('map').tick()
        info, frame = message.info, message.header.frame_id.lstrip('/')
        try:
            cells = np.frombuffer(message.data, np.int8).reshape(info.height, info.width)
            refused = '' if frame else 'its header.frame_id is empty'
        except ValueError as error:
            refused = str(error)
        refused = refused or self.planner.set_map(
            cells, info.resolution, tuple(planar(convert.pose_from_msg(info.origin))))
        if refused:
            self.diagnostics.drop('map: unusable', f'map dropped: {refused}')
        else:
            self._map_frame, self._mapped = frame, time.monotonic()

    def _on_goal(self, goal: PoseStamped) -> None:
        """Where to drive now: what follows `plan` is sent there."""
        self.diagnostics.rate('goal_pose').tick()
        answer = self.answer(None, goal, self.params.tolerance)
        if not answer.code:
            self._plan.publish(answer.path)

    def _on_request(self, request: GetPlan.Request, response: GetPlan.Response) -> GetPlan.Response:
        start = request.start if request.start.header.frame_id else None
        response.plan = self.answer(start, request.goal, float(request.tolerance)).path
        return response

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.planner.clear_map()
        response.success, response.message = True, 'the map is forgotten'
        return response

    # --- a plan ----------------------------------------------------------------------------------

    def answer(self, start: PoseStamped | None, goal: PoseStamped, tolerance: float) -> Answer:
        """A path from a pose, or from where the robot is, to a pose; or why there is none."""
        began = time.perf_counter()
        self._last = answer = self._answered(start, goal, tolerance)
        self._latency.add(time.perf_counter() - began)
        if answer.code:
            self.diagnostics.drop(f'plan: {answer.code}', f'no plan: {answer.sentence}')
        else:
            self.get_logger().info(f'planned {len(answer.path.poses)} poses: {answer.sentence}')
            self._shown.publish(answer.path)
        return answer

    def _answered(self, start: PoseStamped | None, goal: PoseStamped, tolerance: float) -> Answer:
        limit, age = self.params.map_timeout, time.monotonic() - self._mapped
        if not self.active:
            return Answer(Path(), UNKNOWN, 'the planner is not active')
        if self._map_frame and limit and age > limit:
            return Answer(Path(), TIMEOUT, f'the newest map is {age:.1f} s old')
        try:
            ends = [self._placed(pose, name) for pose, name in ((start, 'start'), (goal, 'goal'))]
        except LookupError as error:
            return Answer(Path(), TF_ERROR, str(error))
        except ValueError as error:
            return Answer(Path(), UNKNOWN, str(error))
        planned = self.planner.plan(*ends, tolerance=tolerance)
        stamps = np.full(len(planned.poses), self.get_clock().now().nanoseconds)
        return Answer(convert.path_to_msg(stamps, self._map_frame, planned.poses),
                      CODES.get(planned.verdict, UNKNOWN), planned.status)

    def _placed(self, pose: PoseStamped | None, name: str) -> np.ndarray:
        """x, y, heading in the map's frame of a pose, or of the robot.

        Raises:
            LookupError: TF does not connect it with the map; a sentence.
            ValueError: it is no pose; a sentence.
        """
        target = self._map_frame
        source = self.params.base_frame if pose is None else pose.header.frame_id.lstrip('/')
        if not target:
            return np.zeros(3)      # the planner says that there is no map
        if not source:
            raise ValueError(f'header.frame_id of the {name} is empty')
        T_source_pose = np.array([0.0, 0, 0, 0, 0, 0, 1]) if pose is None else convert.pose_from_msg(pose.pose)
        if abs(np.linalg.norm(T_source_pose[3:]) - 1) > QUATERNION_TOLERANCE:
            raise ValueError(f'the quaternion of the {name} is not of unit length')
        if source == target:
            return planar(T_source_pose)
        try:
            return planar(tf.compose(self._transforms.lookup(target, source), T_source_pose))
        except LookupError as error:
            raise LookupError(f'the {name} is in frame {source!r}, the map in {target!r}: {error}') from None

    def status(self) -> diagnostics.Status:
        status = diagnostics.Status()
        if self._last.code:
            status.worsen(diagnostics.WARN, f'no plan: {self._last.sentence}')
        status.values |= {'map': f'in frame {self._map_frame!r}' if self._map_frame else 'none yet',
                          'last plan': self._last.sentence}
        return status


def main(args: list[str] | None = None) -> None:
    sys.exit(run(PlannerNode, args))
