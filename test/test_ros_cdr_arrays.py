"""Large messages: what is written is what rclpy reads and writes."""
import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from pypose_ros import cdr_arrays, convert
from pypose_ros.msg import PoseGraph, PoseGraphEdge, PoseGraphNode

STAMP = 1_403_715_273_262_142_976
rng = np.random.default_rng(3)


def poses(count: int) -> np.ndarray:
    found = rng.normal(size=(count, 7))
    found[:, 3:] /= np.linalg.norm(found[:, 3:], axis=1, keepdims=True)
    return found


@pytest.mark.parametrize('frame', ['', 'm', 'map', 'robot/map'])
@pytest.mark.parametrize('count', [0, 1, 2, 5])
def test_a_path_is_what_rclpy_reads(frame, count):
    stamps, values = STAMP + np.arange(count) * 10 ** 8, poses(count)
    message = deserialize_message(cdr_arrays.path(STAMP, frame, stamps, values), Path)
    assert message.header == convert.header(STAMP, frame) and len(message.poses) == count
    assert not count or message.poses == convert.path_to_msg(stamps, frame, values).poses


@pytest.mark.parametrize('frame', ['', 'm', 'map', 'robot/map'])
@pytest.mark.parametrize('source', ['', 'scan', 'lidar matcher'])
def test_a_pose_graph_is_what_rclpy_reads(frame, source):
    values, stamps = poses(3), STAMP + np.arange(3) * 10 ** 9
    information = rng.normal(size=(2, 36))
    edges = [(1, 5, 9, int(stamps[0]), int(stamps[2]), values[0].tolist(), information[0].tolist(), True, 3.5, source),
             (0, 5, 7, int(stamps[0]), int(stamps[1]), values[1].tolist(), information[1].tolist(), False, 0.0, '')]
    data = cdr_arrays.pose_graph(STAMP, frame, 42, (np.array([5, 7, 9]), stamps, values), edges)
    wanted = PoseGraph(header=convert.header(STAMP, frame), revision=42, nodes=[
        PoseGraphNode(id=number, stamp=convert.stamp_to_msg(int(stamp)), pose=convert.pose_to_msg(pose))
        for number, stamp, pose in zip((5, 7, 9), stamps, values)])
    for kind, i, j, from_ns, to_ns, pose, omega, rejected, chi2, by in edges:
        wanted.edges.append(PoseGraphEdge(
            header=convert.header(STAMP, frame), kind=kind, from_id=i, to_id=j, information=omega, rejected=rejected,
            from_stamp=convert.stamp_to_msg(from_ns), to_stamp=convert.stamp_to_msg(to_ns), chi2=chi2, source=by,
            transform=convert.pose_to_msg(np.array(pose))))
    assert deserialize_message(data, PoseGraph) == wanted


@pytest.mark.parametrize('frame', ['m', 'map', 'robot/map'])
def test_markers_are_what_rclpy_reads(frame):
    layers = [('nodes', cdr_arrays.POINT_LIST, 0.25, (0.0, 0.5, 1.0, 1.0), rng.normal(size=(3, 3))),
              ('none', cdr_arrays.LINE_LIST, 0.5, (1.0, 0.0, 0.0, 0.5), np.empty((0, 3))),
              ('loops', cdr_arrays.LINE_LIST, 0.5, (0.0, 1.0, 0.0, 0.5), rng.normal(size=(4, 3)))]
    wanted = MarkerArray()
    for name, kind, width, (r, g, b, a), points in layers:
        marker = Marker(header=convert.header(STAMP, frame), ns=name, type=kind,
                        action=Marker.ADD if len(points) else Marker.DELETE, pose=Pose(), color=ColorRGBA(
                            r=r, g=g, b=b, a=a), points=[Point(x=x, y=y, z=z) for x, y, z in points])
        marker.scale.x = marker.scale.y = width
        marker.pose.orientation.w = 1.0
        wanted.markers.append(marker)
    assert deserialize_message(cdr_arrays.markers(STAMP, frame, layers), MarkerArray) == wanted
