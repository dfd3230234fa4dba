"""The simulated robot as a ROS node: sensors, /clock and transforms out, cmd_vel in.

Beside the robot's own topics it stands in for what a navigation stack gives the controller: the local costmap (from
the lidar, placed by the robot's own estimate), the map of the walls, and the plan or a goal.
"""
import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, Twist, TwistStamped
from nav_msgs.msg import MapMetaData, OccupancyGrid, Odometry
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, LaserScan

from pypose_ros import cdr, cdr_arrays, convert, frames, qos
from pypose_ros.sim.course import Course
from pypose_ros.sim.local_costmap import LETHAL, LocalCostmap
from pypose_ros.sim.simulator import Measurements, Simulator
from pypose_ros.tf import StaticTransformBroadcaster

IMU_FRAME, LIDAR_FRAME, BASE_FRAME = 'imu_link', 'laser', 'base_link'
MAP_FRAME, ODOM_FRAME, WHEEL_FRAME = 'map', 'odom', 'wheel_odom'
COSTMAP_EVERY = 2       # scans
MAP_RESOLUTION = 0.05   # m
TRUTH_EVERY = 4         # IMU samples
PLAN_PERIOD_NS, UNDRIVEN_NS = 1_000_000_000, 2_000_000_000


def planar(pose: np.ndarray) -> np.ndarray:
    """(7,) of x, y, heading."""
    return np.array([pose[0], pose[1], 0, 0, 0, np.sin(0.5 * pose[2]), np.cos(0.5 * pose[2])])


def occupancy_grid(stamp_ns: int, frame: str, resolution: float, cells: np.ndarray,
                   corner: np.ndarray) -> OccupancyGrid:
    """Of cells (Y, X), where those that are not zero are obstacles, and the corner (2,) of the first."""
    origin = Pose()
    origin.position.x, origin.position.y = map(float, corner)
    return OccupancyGrid(
        header=convert.header(stamp_ns, frame), data=np.where(cells, LETHAL, 0).ravel().tolist(), info=MapMetaData(
            resolution=resolution, width=cells.shape[1], height=cells.shape[0], origin=origin))


class SimulatorNode(Node):
    """One robot in a course.

    Args:
        simulator: the robot.
        course: its plan is published where `plan_wanted`.
        stamped: cmd_vel is a TwistStamped.
        driver: gives the command [v, w] where the robot shall drive itself; None: cmd_vel does.
    """

    def __init__(self, simulator: Simulator, course: Course, *, stamped: bool = False,
                 driver: Callable[[Simulator], tuple[float, float] | None] | None = None, **kwargs):
        super().__init__('simulator', **kwargs)
        self.simulator, self.course, self._driver = simulator, course, driver
        self._command: tuple[float, float] | None = None
        self._costmap = LocalCostmap()
        self._estimate: np.ndarray | None = None
        self.plan_wanted = False
        """Offer the plan, once a second, while nobody drives: first when the robot has had an estimate for a while."""
        self.goal: np.ndarray | None = None
        """x, y, heading in the map: offered in place of the plan, for a planner to find the way."""
        self._plan_due_ns: int | None = None
        self._scans = self._samples = 0
        send, hear = self.create_publisher, self.create_subscription
        self._clock_out = send(Clock, '/clock', qos.STANDARD)
        self._imu = send(Imu, 'imu/data_raw', qos.STANDARD)
        self._odometry = send(Odometry, 'odometry', qos.STANDARD)
        self._scan = send(LaserScan, 'scan', qos.STANDARD)
        self._truth = send(Odometry, 'ground_truth', qos.STANDARD)
        self._grid = send(OccupancyGrid, 'local_costmap/costmap', qos.LATCHED)
        self._plan = send(convert.Path, 'plan', qos.LATCHED)
        self._goal = send(PoseStamped, 'goal_pose', qos.STANDARD)
        self._map = send(OccupancyGrid, 'map', qos.LATCHED)
        self._static = StaticTransformBroadcaster(send)
        stamp = simulator.stamp_ns
        self._static.send(stamp, BASE_FRAME, IMU_FRAME, planar(np.zeros(3)))
        self._static.send(stamp, BASE_FRAME, LIDAR_FRAME, planar(np.array([*simulator.lidar.config.position, 0.0])))
        self._map.publish(occupancy_grid(stamp, MAP_FRAME, MAP_RESOLUTION, *simulator.walls.grid(MAP_RESOLUTION)))
        self._write_imu = cdr.ImuWriter(IMU_FRAME)
        self._write_odometry = cdr.OdometryWriter(WHEEL_FRAME, BASE_FRAME)
        self._write_truth = cdr.OdometryWriter(MAP_FRAME, BASE_FRAME)
        self._read = cdr.Reader(Odometry)
        self._imu_values = self._constant_imu_values()
        if stamped:
            hear(TwistStamped, 'cmd_vel', self._on_stamped_command, qos.SENSOR(10))
        else:
            hear(Twist, 'cmd_vel', self._on_command, qos.SENSOR(10))
        hear(Odometry, 'odometry/imu', self._on_estimate, qos.SENSOR(10), raw=True)

    def _constant_imu_values(self) -> np.ndarray:
        """All 37 numbers of an Imu, the covariances filled in and no orientation."""
        values, errors = np.zeros(37), self.simulator.config.imu
        values[3], values[4] = 1.0, -1.0
        values[cdr.IMU_GYROSCOPE_COVARIANCE] = np.diag(3 * [errors.gyroscope_noise_density ** 2 * errors.rate]).ravel()
        values[cdr.IMU_ACCELEROMETER_COVARIANCE] = np.diag(
            3 * [errors.accelerometer_noise_density ** 2 * errors.rate]).ravel()
        return values

    def _on_stamped_command(self, message: TwistStamped) -> None:
        self._on_command(message.twist)

    def _on_command(self, twist: Twist) -> None:
        self._command = twist.linear.x, twist.angular.z

    def _on_estimate(self, data: bytes) -> None:
        self._estimate = frames.planar(self._read(data).values[:7])

    def publish_plan(self) -> None:
        """The course's way, in the map's frame."""
        poses = np.stack([planar(pose) for pose in self.course.path])
        stamps = np.full(len(poses), self.simulator.stamp_ns)
        self._plan.publish(cdr_arrays.path(self.simulator.stamp_ns, MAP_FRAME, stamps, poses))

    def _offer_plan(self) -> None:
        now = self.simulator.stamp_ns
        if self._plan_due_ns is None or (self._command is not None and any(self._command)):
            self._plan_due_ns = now + UNDRIVEN_NS
        elif now >= self._plan_due_ns and (self._plan if self.goal is None else self._goal).get_subscription_count():
            self._plan_due_ns = now + PLAN_PERIOD_NS
            if self.goal is None:
                self.publish_plan()
            else:
                self._goal.publish(PoseStamped(header=convert.header(now, MAP_FRAME),
                                               pose=convert.pose_to_msg(planar(self.goal))))

    def advance(self, dt: float) -> Measurements:
        """One step, and what the sensors make of it."""
        if self.plan_wanted and self._estimate is not None:
            self._offer_plan()
        command, self._command = self._command, None
        if self._driver is not None:
            command = self._driver(self.simulator)
        measured = self.simulator.step(dt, command)
        stamp = measured.stamp_ns
        self._clock_out.publish(Clock(clock=convert.stamp_to_msg(stamp)))
        if measured.odometry is not None and measured.twist is not None and measured.covariance is not None:
            self._odometry.publish(self._write_odometry(
                stamp, planar(measured.odometry), self._turned(measured.covariance, measured.odometry[2]),
                np.array([measured.twist[0], 0, 0]), np.array([0, 0, measured.twist[1]]), np.zeros((6, 6))))
        if measured.imu is not None:
            self._imu_values[cdr.IMU_GYROSCOPE], self._imu_values[cdr.IMU_ACCELEROMETER] = np.split(measured.imu, 2)
            self._imu.publish(self._write_imu(stamp, self._imu_values))
            self._samples += 1
            if self._samples % TRUTH_EVERY == 0:
                robot = self.simulator
                self._truth.publish(self._write_truth(
                    stamp, robot.truth, np.zeros((6, 6)), np.array([robot.v, 0, 0]), np.array([0, 0, robot.w]),
                    np.zeros((6, 6))))
        if measured.scan is not None:
            self._publish_scan(stamp, measured.scan)
        return measured

    @staticmethod
    def _turned(covariance: np.ndarray, heading: float) -> np.ndarray:
        """The increment's covariance about the fixed axes of the wheels' frame."""
        c, s = np.cos(heading), np.sin(heading)
        turn = np.kron(np.eye(2), np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
        return turn @ covariance @ turn.T

    def _publish_scan(self, stamp: int, ranges: np.ndarray) -> None:
        lidar = self.simulator.lidar
        step = 2 * np.pi / lidar.config.beams
        self._scan.publish(LaserScan(
            header=convert.header(stamp, LIDAR_FRAME), angle_min=-np.pi, angle_max=np.pi - step, angle_increment=step,
            scan_time=1 / lidar.config.rate, range_min=0.05, range_max=lidar.config.max_range,
            ranges=ranges.astype(np.float32)))
        if self._estimate is None:
            return
        self._costmap.add(self._estimate, lidar.points(ranges))
        self._scans += 1
        if self._scans % COSTMAP_EVERY == 0:
            cells, corner = self._costmap.grid(self._estimate[:2])
            self._grid.publish(occupancy_grid(stamp, ODOM_FRAME, self._costmap.resolution, cells, corner))


def drive(node: SimulatorNode, *, rate: float, until: Callable[[], bool]) -> None:
    """Let simulated time pass `rate` times as fast as the wall's, until told to stop; messages are taken in by an
    executor in another thread.

    Args:
        until: asked after each step.
    """
    dt = 1 / node.simulator.config.imu.rate
    begin, steps = time.monotonic(), 0
    while not until():
        left = begin + steps * dt / rate - time.monotonic()
        time.sleep(max(left, 0.0))      # at least the executor gets its turn
        node.advance(dt)
        steps += 1
        if left < -0.5:     # the machine could not keep up: time passes slower, nothing is skipped
            begin -= left
