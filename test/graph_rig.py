"""The pose_graph node and a peer that feeds and hears it; see node_rig.py."""
import numpy as np
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from node_rig import Peer
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import NavSatFix
from visualization_msgs.msg import MarkerArray

from pypose_ros import convert, qos
from pypose_ros.msg import LoopClosureEvent, PoseGraph, PoseGraphEdge, SolveStats

NODE = 'pose_graph'
INPUTS = ('odometry', 'pose', 'fix', 'loop_closure', 'pose_graph_in')


def odometry_bytes(stamp_ns: int, pose, *, frame: str = 'odom', child: str = 'base_link', covariance=None) -> bytes:
    return serialize_message(convert.odometry_to_msg(
        stamp_ns, frame, child, np.asarray(pose, float), np.zeros((6, 6)) if covariance is None else covariance,
        np.zeros(6), np.zeros((6, 6))))


def edge_message(transform, *, ids=None, stamps=None, information=None, source: str = 'test') -> PoseGraphEdge:
    message = PoseGraphEdge(kind=PoseGraphEdge.KIND_LOOP, transform=convert.pose_to_msg(np.asarray(transform, float)),
                            source=source)
    message.information = (np.zeros(36) if information is None else np.asarray(information, float).ravel())
    if stamps is not None:
        message.by_stamp = True
        message.from_stamp, message.to_stamp = map(convert.stamp_to_msg, map(int, stamps))
    else:
        message.from_id, message.to_id = map(int, ids)
    return message


class GraphRig(Peer):
    """A Peer with the node running in this process, in a participant and a thread of its own."""

    def __init__(self, domain: int):
        super().__init__(domain)
        self._domain = domain
        self.under_test = None
        self.corrected, self.events, self.paths, self.graphs = [], [], [], []
        self.markers, self.poses, self.stats = [], [], []
        hear, send = self.node.create_subscription, self.node.create_publisher
        for kind, topic, kept, profile in (
                (Odometry, 'odometry/corrected', self.corrected, qos.SENSOR(5000)),
                (PoseWithCovarianceStamped, 'pose_corrected', self.poses, qos.SENSOR(100)),
                (LoopClosureEvent, f'{NODE}/loop_closure_event', self.events, qos.EVENTS),
                (SolveStats, f'{NODE}/solve_stats', self.stats, 100),
                (Path, 'path', self.paths, qos.LATCHED), (PoseGraph, 'pose_graph', self.graphs, qos.LATCHED),
                (MarkerArray, f'{NODE}/markers', self.markers, qos.LATCHED)):
            hear(kind, topic, kept.append, profile)
        self.edge = send(PoseGraphEdge, 'loop_closure', qos.EVENTS)
        self.fix = send(NavSatFix, 'fix', 100)
        self.graph_in = send(PoseGraph, 'pose_graph_in', qos.LATCHED)

    def start(self, *, activate: bool = True, **params):
        """Start the node with parameters (`robust.method` is written robust__method) and wait for the matches."""
        from pypose_ros.nodes.pose_graph import PoseGraphNode
        from pypose_ros.run import Spinner
        self.node_context = rclpy.Context()
        self.node_context.init(domain_id=self._domain)
        self.under_test = PoseGraphNode(
            context=self.node_context,
            parameter_overrides=[Parameter(k.replace('__', '.'), value=v) for k, v in params.items()])
        self._spinner = Spinner(self.under_test, 'events')
        configured = self.under_test.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if configured and activate:
            self.under_test.trigger_activate()
        self._spinner.start()
        if configured:
            hears = [s for s in self.under_test.subscriptions if s.topic in INPUTS]
            self.until(lambda: all(s.get_publisher_count() for s in hears), 'the node hears the peer')
            self.until(lambda: self.node.count_publishers('odometry/corrected'), 'the peer hears the node')
        return self.under_test

    def taken(self, topic: str) -> int:
        return self.under_test.diagnostics.rates[topic].count

    def drive(self, stamps, poses, **kwargs) -> None:
        """Send odometry; returns when the node has taken it all."""
        count = self.taken('odometry')
        for stamp, pose in zip(stamps, poses):
            self.odom.publish(odometry_bytes(int(stamp), pose, **kwargs))
            count += 1
            if count % 20 == 0:
                self.until(lambda count=count: self.taken('odometry') >= count, f'odometry {count} is taken')
        self.until(lambda: self.taken('odometry') >= count, 'all odometry is taken')
        self.spin(0.02)

    def solved(self, revision: int) -> None:
        self.until(lambda: self.under_test.back_end.revision >= revision, f'revision {revision}')

    def close(self) -> None:
        if self.under_test is not None:
            self._spinner.stop()
            self.under_test.destroy_node()
            self.node_context.try_shutdown()
        super().close()
