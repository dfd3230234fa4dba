"""loop_closure over DDS: scans of a known world in, edges out; and what happens when things go wrong."""
import numpy as np
import pytest
from graph_rig import odometry_bytes
from node_rig import Host, reserved_domain
from sensor_msgs.msg import LaserScan, PointCloud2, PointField
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from pypose_core.online.correction import compose, inverse
from pypose_ros import convert, qos, scans
from pypose_ros.msg import LoopClosureEvent, PoseGraphEdge
from pypose_ros.sim.walls import offices

ANGLES = np.linspace(-np.pi, np.pi, 360, endpoint=False)
LIDAR = np.array([0.2, 0.0, 0.3, 0, 0, 0, 1])       # T_base_lidar


def pose7(pose) -> np.ndarray:
    x, y, heading = pose
    return np.array([x, y, 0, 0, 0, np.sin(heading / 2), np.cos(heading / 2)])


def scan_message(stamp_ns: int, pose, frame: str = 'lidar') -> LaserScan:
    x, y, heading = pose
    at = np.array([x + 0.2 * np.cos(heading), y + 0.2 * np.sin(heading), heading])
    ranges = offices().ranges(at, ANGLES, limit=15.0)
    return LaserScan(header=convert.header(stamp_ns, frame), angle_min=float(ANGLES[0]),
                     angle_increment=float(ANGLES[1] - ANGLES[0]), range_min=0.1, range_max=15.0,
                     ranges=ranges.astype(np.float32))


class Rig(Host):
    """loop_closure in this process."""

    def __init__(self, domain: int):
        super().__init__(domain)
        self.edges, self.refused = [], []
        self.node.create_subscription(PoseGraphEdge, 'loop_closure', self.edges.append, qos.EVENTS)
        self.node.create_subscription(LoopClosureEvent, 'loop_closure/refused', self.refused.append, qos.EVENTS)
        self.scan = self.node.create_publisher(LaserScan, 'scan', 100)
        self.points = self.node.create_publisher(PointCloud2, 'points', 100)

    def start(self, **params):
        from pypose_ros.nodes.loop_closure import LoopClosureNode
        return self.host(LoopClosureNode, params)

    def drive(self, way, begin_ns: int = 10 ** 12) -> None:
        """A scan and odometry at each pose."""
        node = self.under_test
        for k, pose in enumerate(way):
            stamp = begin_ns + k * 10 ** 8
            self.publish(self.scan, 'scan', [scan_message(stamp - 10 ** 7, pose)])
            self.publish(self.odom, 'odometry', [odometry_bytes(stamp, pose7(pose))])
            self.until(lambda: not node._queued and not node._waiting, 'the scan is looked at')


@pytest.fixture
def rig():
    with reserved_domain() as domain:
        made = Rig(domain)
        made.static.publish(TFMessage(transforms=[convert.transform_to_msg(0, 'base_link', 'lidar', LIDAR)]))
        yield made
        made.close()


THERE = [(2.0 + 0.6 * k, 2.0, 0.0) for k in range(12)]
BACK = [(x, y + 0.1, 0.1) for x, y, _ in THERE[::-1]]


def test_a_robot_that_comes_back_closes_loops_that_are_right(rig):
    node = rig.start(min_way=5.0, search_radius=1.0)
    rig.until(lambda: 'lidar' in node._transforms.frames(), 'the transform arrives')
    rig.drive(THERE + BACK)
    rig.until(lambda: len(rig.edges) >= 5, 'loops')
    way = THERE + BACK
    for edge in rig.edges:
        i, j = ((convert.stamp_from_msg(s) - 10 ** 12) / 1e8 + 0.1 for s in (edge.from_stamp, edge.to_stamp))
        true = compose(inverse(pose7(way[round(i)])), pose7(way[round(j)]))
        found = convert.pose_from_msg(edge.transform)
        np.testing.assert_allclose(found[:2], true[:2], atol=0.12)
        assert abs(found[5] - true[5]) < 0.02 and edge.by_stamp and edge.source == 'loop_closure'
        assert np.linalg.eigvalsh(np.reshape(edge.information, (6, 6)))[0] > 0


def test_a_cloud_gives_the_points_that_a_scan_gives():
    scan = scan_message(1, THERE[0])
    points = scans.points_of_scan(scan)
    row = np.zeros(len(points) + 1, np.dtype([('i', '<u2'), ('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('t', '<f8')]))
    row['x'][:-1], row['y'][:-1], row['z'][-1] = points[:, 0], points[:, 1], np.nan
    cloud = PointCloud2(height=1, width=len(row), point_step=row.dtype.itemsize, row_step=row.nbytes,
                        data=row.tobytes(), fields=[PointField(name=n, offset=row.dtype.fields[n][1], count=1,
                                                               datatype=PointField.FLOAT32) for n in 'xyz'])
    np.testing.assert_allclose(scans.points_of_cloud(cloud), points, atol=1e-6)
    cloud.data = cloud.data[:50]
    with pytest.raises(ValueError, match='too few'):
        scans.points_of_cloud(cloud)


def test_what_cannot_be_used_is_dropped_with_the_reason(rig):
    node = rig.start()
    rig.until(lambda: 'lidar' in node._transforms.frames(), 'the transform arrives')
    stamp = 10 ** 12
    rig.odom.publish(odometry_bytes(stamp, np.full(7, np.nan)))
    rig.odom.publish(odometry_bytes(stamp, pose7(THERE[0]), frame='elsewhere'))
    rig.odom.publish(odometry_bytes(stamp, pose7(THERE[0])))
    rig.until(lambda: len(node._buffer) == 1, 'odometry')
    rig.scan.publish(scan_message(0, THERE[0]))
    rig.scan.publish(scan_message(stamp, THERE[0], frame='nowhere'))
    rig.scan.publish(scan_message(stamp - 10 ** 10, THERE[0]))
    broken = scan_message(stamp, THERE[0])
    broken.angle_increment = float('nan')
    rig.scan.publish(broken)
    rig.points.publish(PointCloud2(header=convert.header(stamp, 'lidar'), height=1, width=3))
    rig.until(lambda: sum(node.diagnostics.drops.values()) >= 7, 'all are judged')
    assert dict(node.diagnostics.drops) == {
        'odometry: not_finite': 1, 'odometry: frame': 1, 'scan: zero_stamp': 1, 'scan: frame': 1,
        'scan: no_odometry': 1, 'scan: garbled': 1, 'points: garbled': 1}


def test_scans_that_come_too_fast_are_skipped_and_counted(rig):
    node = rig.start(queue=2)
    rig.until(lambda: 'lidar' in node._transforms.frames(), 'the transform arrives')
    for k in range(5):          # odometry never reaches them
        rig.scan.publish(scan_message(10 ** 12 + k, THERE[0]))
    rig.until(lambda: node.diagnostics.drops['scan: overrun'] == 3, 'three are skipped')
    assert len(node._waiting) == 2


def test_a_bag_that_loops_and_a_reset_forget_all_scans(rig):
    node = rig.start()
    rig.until(lambda: 'lidar' in node._transforms.frames(), 'the transform arrives')
    rig.drive(THERE[:4])
    assert len(node.detector.scans) == 4
    rig.drive(THERE[:3], begin_ns=10 ** 11)     # the first scan comes before odometry has told of the jump
    rig.until(lambda: len(node.detector.scans) == 2, 'only the new ones are kept')
    assert rig.call(Trigger, 'loop_closure/reset', Trigger.Request()).success
    rig.until(lambda: not node.detector.scans, 'none are kept')
