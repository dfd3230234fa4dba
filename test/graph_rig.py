"""The pose_graph node and a peer that feeds and hears it; see node_rig.py."""
import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from node_rig import Host
from rclpy.serialization import serialize_message
from sensor_msgs.msg import NavSatFix
from visualization_msgs.msg import MarkerArray

from pypose_ros import convert, qos
from pypose_ros.msg import LoopClosureEvent, PoseGraph, PoseGraphEdge, SolveStats

NODE = 'pose_graph'


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


class GraphRig(Host):
    """pose_graph in this process."""

    def __init__(self, domain: int):
        super().__init__(domain)
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

    def start(self, **params):
        from pypose_ros.nodes.pose_graph import PoseGraphNode
        return self.host(PoseGraphNode, params)

    def drive(self, stamps, poses, **kwargs) -> None:
        """Send odometry; returns when the node has taken it all."""
        self.publish(self.odom, 'odometry', (odometry_bytes(int(stamp), pose, **kwargs)
                                             for stamp, pose in zip(stamps, poses)))
