"""The simulated robot's process: the robot, and what it keeps of the nodes' messages."""
import time
from collections.abc import Callable

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from numpy.typing import NDArray

from pypose_ros import cdr, convert, qos
from pypose_ros.bag.errors import RunError
from pypose_ros.frames import planar
from pypose_ros.msg import LoopClosureEvent, SolveStats
from pypose_ros.run import Spinner
from pypose_ros.sim.course import Course
from pypose_ros.sim.node import SimulatorNode, drive
from pypose_ros.sim.simulator import Simulator

START_TIMEOUT = 90.0    # s
REACHED = 'the goal is reached'


class Recorder:
    """Runs a SimulatorNode and remembers.

    Args:
        simulator, course: see there.
        context: of rclpy.
    """

    def __init__(self, simulator: Simulator, course: Course, context: rclpy.Context):
        self.node = SimulatorNode(simulator, course, context=context)
        self._simulator, self._begin_ns = simulator, simulator.stamp_ns
        self._spinner = Spinner(self.node, 'events')
        self._truth: list[tuple[float, ...]] = []
        self._estimate: list[tuple[float, ...]] = []
        self._odometry: list[tuple[float, ...]] = []
        self._commands: list[tuple[float, ...]] = []
        self._cycles: list[tuple[float, ...]] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.reached, self.loops = False, 0
        self.clearance: float = np.inf
        hear, read = self.node.create_subscription, cdr.Reader(Odometry)
        hear(Twist, 'cmd_vel', self._on_command, qos.SENSOR(100))
        hear(SolveStats, 'mpc_controller/solve_stats', self._on_cycle, qos.SENSOR(100))
        hear(LoopClosureEvent, 'pose_graph/loop_closure_event', self._on_loop, qos.EVENTS)
        hear(DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.SENSOR(20))
        for topic, kept in (('odometry/imu', self._odometry), ('odometry/corrected', self._estimate)):
            hear(Odometry, topic, self._keeper(read, kept), qos.SENSOR(200), raw=True)
        self._spinner.start()

    def _seconds(self, stamp_ns: int) -> float:
        return (stamp_ns - self._begin_ns) * 1e-9

    def _on_command(self, twist: Twist) -> None:
        if self.reached:
            return      # the good-bye of a controller that is shut down
        self._commands.append((self._seconds(self._simulator.stamp_ns), time.monotonic(), twist.linear.x,
                               twist.angular.z))

    def _on_cycle(self, message: SolveStats) -> None:
        self._cycles.append((self._seconds(convert.stamp_from_msg(message.header.stamp)), message.solve_time,
                             message.iterations))

    def _on_loop(self, event: LoopClosureEvent) -> None:
        self.loops += event.accepted

    def _keeper(self, read: cdr.Reader, kept: list[tuple[float, ...]]) -> Callable[[bytes], None]:
        def keep(data: bytes) -> None:
            message = read(data)
            kept.append((self._seconds(message.stamp_ns), *planar(message.values[:7])))
        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            facts = {pair.key: pair.value for pair in status.values}
            self.diagnostics[status.name] = {'message': status.message, **facts}
            if status.name.endswith('mpc_controller') and facts.get('tracking') == REACHED:
                self.reached = True

    def wait_for_nodes(self, check: Callable[[], None]) -> None:
        """Until all nodes hear the robot. `check` raises where their process has died."""
        topics = ['imu/data_raw', 'odometry', 'scan', 'plan', 'local_costmap/costmap']
        if self.node.goal is not None:
            topics += ['goal_pose', 'map']
        deadline = time.monotonic() + START_TIMEOUT
        # /tf_static is latched; the others must not begin before they are heard. We hear cmd_vel ourselves.
        while not (all(self.node.count_subscribers(topic) for topic in topics)
                   and self.node.count_publishers('cmd_vel')):
            check()
            if time.monotonic() > deadline:
                raise RunError(f'the nodes were not there after {START_TIMEOUT:g} s')
            time.sleep(0.05)

    def drive(self, rate: float, check: Callable[[], None], progress: Callable[[float], None], *, settle: float,
              give_up: float, limit: float) -> None:
        """Until the goal is reached and `settle` s more, or nothing was commanded for `give_up` s, or for `limit` s.

        Args:
            rate: simulated seconds per second.
            check: raises where the nodes' process has died.
            progress: called with the metres driven since.
        """
        steps, driven, robot = 0, 0.0, self._simulator
        end: float | None = None
        heard: float = robot.stamp_ns

        def until() -> bool:
            nonlocal steps, end, driven, heard
            steps += 1
            if steps % 4 == 0:
                self._truth.append((self._seconds(robot.stamp_ns), *robot.pose, robot.v, robot.w))
                driven += abs(robot.v) * 4 / robot.config.imu.rate
                self.clearance = min(self.clearance, robot.clearance)
            if steps % 100 == 0:
                check()
                progress(driven)
                driven = 0.0
            if self._commands and any(self._commands[-1][2:]):
                heard = self._begin_ns + self._commands[-1][0] * 1e9
            if self.reached and end is None:
                self.node.plan_wanted = False
                end = robot.stamp_ns + settle * 1e9
            return (robot.stamp_ns > (self._begin_ns + limit * 1e9 if end is None else end)
                    or robot.stamp_ns - heard > give_up * 1e9)

        drive(self.node, rate=rate, until=until)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Truth, estimate, odometry, commands, cycles, as Drive has them."""
        return {name: np.array(rows, float).reshape(-1, width) for name, rows, width in (
            ('truth', self._truth, 6), ('estimate', self._estimate, 4), ('odometry', self._odometry, 4),
            ('commands', self._commands, 4), ('cycles', self._cycles, 3))}

    def close(self) -> None:
        self._spinner.stop()
        self.node.destroy_node()
