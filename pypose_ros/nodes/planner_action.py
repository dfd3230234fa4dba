"""ComputePathToPose of Nav2 as a way to ask planner for a path; only where nav2_msgs is installed."""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped
from nav2_msgs.action import ComputePathToPose
from rclpy.action import ActionServer, GoalResponse
from rclpy.action.server import ServerGoalHandle

if TYPE_CHECKING:
    from pypose_ros.nodes.planner import Answer

NAME = 'compute_path_to_pose_pypose'


class ComputePathServer:
    """Goals are answered one after the other, each within a moment: none can be cancelled.

    Args:
        node: the lifecycle node.
        answer: takes the start (None: where the robot is) and the goal; returns an Answer.
    """

    def __init__(self, node, answer: Callable[[PoseStamped | None, PoseStamped], Answer]):
        self._answer = answer
        self._server = ActionServer(
            node, ComputePathToPose, NAME, self._execute,
            goal_callback=lambda _goal: GoalResponse.ACCEPT if node.active else GoalResponse.REJECT)

    def _execute(self, handle: ServerGoalHandle) -> ComputePathToPose.Result:
        goal, began = handle.request, time.perf_counter()
        answer = self._answer(goal.start if goal.use_start else None, goal.goal)
        seconds, rest = divmod(time.perf_counter() - began, 1.0)
        result = ComputePathToPose.Result(path=answer.path, error_code=answer.code, planning_time=Duration(
            sec=int(seconds), nanosec=int(rest * 1e9)))
        if hasattr(result, 'error_msg'):        # newer than the first Jazzy
            result.error_msg = answer.sentence
        handle.abort() if answer.code else handle.succeed()
        return result

    def destroy(self) -> None:
        self._server.destroy()
