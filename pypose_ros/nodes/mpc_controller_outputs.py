"""What mpc_controller publishes."""
import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Path

from pypose_core.control import OcpStats
from pypose_core.online.path_tracking import Command
from pypose_ros import cdr_arrays, convert, qos
from pypose_ros.endpoints import Endpoints
from pypose_ros.msg import SolveStats
from pypose_ros.nodes.mpc_controller_params import MpcControllerParams


class Outputs:
    """Publishers of one configured node."""

    def __init__(self, ends: Endpoints, params: MpcControllerParams):
        self._params = params
        self._stamped = params.enable_stamped_cmd_vel
        self._command = ends.publisher(TwistStamped if self._stamped else Twist, 'cmd_vel', qos.STANDARD)
        self._plan = ends.publisher(Path, '~/optimal_path', qos.STANDARD)
        self._stats = ends.publisher(SolveStats, '~/solve_stats', qos.STANDARD)

    def command(self, stamp_ns: int, twist: np.ndarray) -> None:
        """Publish a body twist (3,): m/s ahead, m/s to the left, rad/s."""
        message = Twist()
        if np.isfinite(twist).all():        # what is not finite is zero
            message.linear.x, message.linear.y, message.angular.z = map(float, twist)
        if self._stamped:
            message = TwistStamped(header=convert.header(stamp_ns, self._params.base_frame), twist=message)
        self._command.publish(message)

    def details(self, stamp_ns: int, command: Command) -> None:
        """The planned trajectory and the numbers of the solve, where somebody listens."""
        result = command.result
        if result is None:
            return
        if self._plan.get_subscription_count():
            states = result.states
            poses = np.zeros((len(states), 7))
            poses[:, :2], half = states[:, :2], 0.5 * states[:, 2]
            poses[:, 5], poses[:, 6] = np.sin(half), np.cos(half)
            stamps = stamp_ns + np.round((self._params.delay + self._params.dt * np.arange(len(states))) * 1e9)
            self._plan.publish(cdr_arrays.path(stamp_ns, self._params.odom_frame, stamps.astype(np.int64), poses))
        if self._stats.get_subscription_count():
            stats = result.stats
            assert isinstance(stats, OcpStats)      # one problem, no batch
            self._stats.publish(SolveStats(
                header=convert.header(stamp_ns, self._params.base_frame), success=not command.reason,
                status=command.reason or str(result.status), iterations=stats.iterations, cost_final=stats.cost,
                cost_initial=float('nan'), solve_time=command.seconds,
                variables=unknowns(result), factors=0))


def unknowns(result) -> int:
    """Unknowns of a plan: its controls and the states after the first."""
    return result.controls.size + result.states[1:].size
