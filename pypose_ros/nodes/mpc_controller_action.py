"""FollowPath of Nav2 as a way to give mpc_controller its path; only where nav2_msgs is installed."""
from collections.abc import Callable

import numpy as np
from nav2_msgs.action import FollowPath
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future

from pypose_ros import convert

NAME = 'follow_path_pypose'
FEEDBACK_PERIOD_NS = 100_000_000


class FollowPathServer:
    """One goal at a time; a new one takes the path over without a stop.

    Args:
        node: the lifecycle node.
        begin: takes a frame and poses (N, 7) in it; returns (error code, sentence), 0 where they are followed now.
        cancel: gives the path up.
    """

    def __init__(self, node, begin: Callable[[str, np.ndarray], tuple[int, str]], cancel: Callable[[], None]):
        self._node, self._begin, self._cancel = node, begin, cancel
        self._handle: ServerGoalHandle | None = None
        self._outcomes: dict[bytes, Future] = {}
        self._told_ns = 0
        self._server = ActionServer(
            node, FollowPath, NAME, self._execute, goal_callback=self._judge,
            handle_accepted_callback=self._accepted, cancel_callback=lambda handle: CancelResponse.ACCEPT)

    @property
    def running(self) -> bool:
        return self._handle is not None

    def _judge(self, _goal: FollowPath.Goal) -> GoalResponse:
        return GoalResponse.ACCEPT if self._node.active else GoalResponse.REJECT

    def _accepted(self, handle: ServerGoalHandle) -> None:
        self.finish(FollowPath.Result.UNKNOWN, 'another goal took its place')
        self._handle = handle
        self._outcomes[bytes(handle.goal_id.uuid)] = Future()
        path = handle.request.path
        code, sentence = self._begin(path.header.frame_id, convert.path_from_msg(path)[1])
        if code:
            self.finish(code, sentence)
        handle.execute()

    async def _execute(self, handle: ServerGoalHandle) -> FollowPath.Result:
        key = bytes(handle.goal_id.uuid)
        code, sentence, ending = await self._outcomes[key]
        del self._outcomes[key]
        getattr(handle, ending)()
        result = FollowPath.Result(error_code=code)
        if hasattr(result, 'error_msg'):        # newer than the first Jazzy
            result.error_msg = sentence
        return result

    def finish(self, code: int, sentence: str = '') -> None:
        """End the goal that is followed: code 0 is success."""
        self._end(code, sentence, 'abort' if code else 'succeed')

    def _end(self, code: int, sentence: str, ending: str) -> None:
        if self._handle is not None:
            self._outcomes[bytes(self._handle.goal_id.uuid)].set_result((code, sentence, ending))
            self._handle = None

    def tick(self, now_ns: int, distance: float, speed: float) -> None:
        """Once a cycle: see to cancellation and tell how far it is."""
        if self._handle is None:
            return
        if self._handle.is_cancel_requested:
            self._end(0, 'canceled', 'canceled')
            self._cancel()
        elif not 0 <= now_ns - self._told_ns < FEEDBACK_PERIOD_NS:
            self._told_ns = now_ns
            self._handle.publish_feedback(FollowPath.Feedback(distance_to_goal=distance, speed=speed))

    def destroy(self) -> None:
        self.finish(FollowPath.Result.UNKNOWN, 'the controller was deactivated')
        self._server.destroy()
