"""What mpc_controller is told of its surroundings: the costmap, and speed limits where nav2_msgs is installed."""
import importlib.util
import time

import numpy as np
from nav_msgs.msg import OccupancyGrid

from pypose_core.online.correction import compose
from pypose_core.online.path_tracking import PathTracker
from pypose_ros import convert, qos
from pypose_ros.frames import planar
from pypose_ros.tf import TransformBuffer

IDENTITY = np.array([0.0, 0, 0, 0, 0, 0, 1])


class Surroundings:
    """Subscriptions of one configured node.

    Args:
        node: the lifecycle node.
        tracker: is told.
        transforms: to odom_frame.
    """

    def __init__(self, node, tracker: PathTracker, transforms: TransformBuffer):
        self._node, self._tracker, self._transforms = node, tracker, transforms
        self.mapped: float | None = None
        """Steady time of the newest costmap."""
        node.endpoints.subscription(OccupancyGrid, 'local_costmap/costmap', self._on_costmap, qos.LATCHED)
        if importlib.util.find_spec('nav2_msgs') is not None:
            from nav2_msgs.msg import SpeedLimit
            node.endpoints.subscription(SpeedLimit, 'speed_limit', self._on_speed_limit, qos.SENSOR(1))

    def silence(self, limit: float) -> str:
        """A sentence where there was a costmap and none came for longer than `limit` s (0: any time); else ''."""
        silent = 0.0 if self.mapped is None or not limit else time.monotonic() - self.mapped
        return f'no costmap for {silent:.1f} s' if silent > limit else ''

    def _on_costmap(self, message: OccupancyGrid) -> None:
        diagnostics, odom = self._node.diagnostics, self._node.params.odom_frame
        diagnostics.rate('costmap').tick()
        info, frame = message.info, message.header.frame_id.lstrip('/')
        try:
            T_odom_frame = IDENTITY if frame == odom else self._transforms.lookup(odom, frame)
            origin = planar(compose(T_odom_frame, convert.pose_from_msg(info.origin)))
            cells = np.frombuffer(message.data, np.int8).reshape(info.height, info.width)
        except (LookupError, ValueError) as error:
            diagnostics.drop('costmap: unusable', f'costmap dropped: {error}')
            return
        verdict = self._tracker.set_costmap(cells, info.resolution, tuple(origin))
        if verdict.accepted:
            self.mapped = time.monotonic()
        else:
            diagnostics.drop(f'costmap: {verdict.name.lower()}', f'costmap {verdict}')

    def _on_speed_limit(self, message) -> None:
        """0 lifts it; a percentage is of limits.max_speed."""
        limit = message.speed_limit
        if not np.isfinite(limit):
            self._node.diagnostics.drop('speed_limit: not_finite', f'speed_limit dropped: {limit}')
            return
        if message.percentage:
            limit *= 0.01 * self._node.params.limits.max_speed
        self._tracker.set_speed_limit(limit)
