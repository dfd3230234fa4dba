"""The mpc_controller node and a peer that is its robot; see node_rig.py."""
import time

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from nav_msgs.msg import MapMetaData, OccupancyGrid, Odometry, Path
from node_rig import Host
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock

from pypose_ros import convert, qos
from pypose_ros.sim.node import planar

LINE = np.array([[0.1 * k, 0.0, 0.0] for k in range(61)])


def path_message(poses, frame: str = 'odom') -> Path:
    return convert.path_to_msg(np.ones(len(poses), np.int64), frame, np.array([planar(p) for p in poses]))


def odometry_message(stamp_ns: int, pose, twist=(0.0, 0.0), frame: str = 'odom') -> bytes:
    return serialize_message(convert.odometry_to_msg(
        stamp_ns, frame, 'base_link', planar(np.asarray(pose, float)), np.eye(6) * 1e-4,
        np.array([twist[0], 0, 0, 0, 0, twist[1]]), np.eye(6) * 1e-4))


def grid_message(cells: np.ndarray, resolution: float, corner, frame: str = 'odom') -> OccupancyGrid:
    message = OccupancyGrid(header=convert.header(1, frame), data=cells.astype(np.int8).ravel().tolist(),
                            info=MapMetaData(resolution=resolution, width=cells.shape[1], height=cells.shape[0]))
    message.info.origin.position.x, message.info.origin.position.y = map(float, corner)
    return message


class ControllerRig(Host):
    """mpc_controller in this process. The robot obeys at once, each command for the period of the controller.

    It does not go on while a busy machine keeps the next command waiting, and so overshoots nothing.
    """

    def __init__(self, domain: int):
        super().__init__(domain)
        self.commands: list[tuple[float, float, float]] = []     # steady time, v, w
        self.pose, self.period = np.zeros(3), 0.05
        self.node.create_subscription(Twist, 'cmd_vel', self._obey, qos.SENSOR(100))
        send = self.node.create_publisher
        self.odom_out = send(Odometry, 'odom', 10)
        self.path = send(Path, 'path', 1)
        self.costmap = send(OccupancyGrid, 'local_costmap/costmap', qos.LATCHED)
        self.clock = send(Clock, '/clock', 10)

    def _obey(self, twist: Twist) -> None:
        self.commands.append((time.monotonic(), twist.linear.x, twist.angular.z))
        ahead = np.array([np.cos(self.pose[2]), np.sin(self.pose[2]), 0.0])
        self.pose = self.pose + self.period * (twist.linear.x * ahead + [0, 0, twist.angular.z])

    def start(self, **params):
        from pypose_ros.nodes.mpc_controller import MpcController
        self.period = 1 / params.get('controller_frequency', 20.0)
        # A test machine may be busy: the robot is not to be stopped for that.
        return self.host(MpcController, {'odom_timeout': 5.0, **params})

    def say_odometry(self, *, stamp_ns: int | None = None, **kwargs) -> None:
        """Say where the robot is."""
        twist = self.commands[-1][1:] if self.commands else (0.0, 0.0)
        self.odom_out.publish(odometry_message(time.time_ns() if stamp_ns is None else stamp_ns, self.pose, twist,
                                               **kwargs))

    def live(self, seconds: float, *, until=None) -> None:
        """Odometry at 50 Hz."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until is not None and until()):
            self.say_odometry()
            self.spin(0.02)

    def placed(self) -> None:
        """Live until the node knows where the robot is."""
        wanted = self.taken('odom') + 3
        self.live(60, until=lambda: self.taken('odom') >= wanted)
        self.answered()

    def at_full_speed(self) -> None:
        """Send the line and drive until the robot is fast; again where the node has not heard of it."""
        for _ in range(6):
            self.live(0.1)
            self.path.publish(path_message(LINE))
            self.live(10, until=lambda: self.speed() > 0.8)
            if self.speed() > 0.8:
                return
        pytest.fail('the robot did not become fast')

    def speed(self) -> float:
        return abs(self.commands[-1][1]) if self.commands else 0.0

    def stands(self) -> bool:
        return bool(self.commands) and self.commands[-1][1:] == (0.0, 0.0)

    def zero_after(self, moment: float, what: str) -> float:
        """Seconds from a moment of the steady clock to the first zero command after it."""
        self.until(self.stands, f'zero velocity after {what}')
        return next(t for t, v, w in self.commands if t > moment and v == w == 0) - moment

    def drops(self) -> dict:
        return dict(self.under_test.diagnostics.drops)
