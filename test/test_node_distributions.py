"""Nodes from two ROS distributions in two processes: topics, our own messages, services, both ways.

Needs a second checkout that was set up with the other distribution's wheels, named by $PYPOSE_PEER_CHECKOUT
(`make test-distributions` makes one; docs/distributions.md).
"""
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from node_rig import IDENTITY, T0, Peer, circle_pose, circling, pose_message, reserved_domain

from pypose_core.online.back_end import PoseGraphBackEnd
from pypose_ros import convert, qos
from pypose_ros.msg import PoseGraph
from pypose_ros.srv import SaveGraph

OURS = Path(__file__).parents[1]
ARGUMENTS = {
    'imu_preintegration': ['-p', f'extrinsic_imu_to_base:={list(IDENTITY)}', '-p', 'init.mode:=pose'],
    'pose_graph': ['-p', 'keyframe.distance:=0.2', '-p', 'publish_period:=0.2', '-r', 'odometry:=odometry/imu',
                   '-r', 'pose:=map_pose']}


@pytest.fixture
def other() -> Path:
    folder = os.environ.get('PYPOSE_PEER_CHECKOUT')
    if not folder:
        pytest.skip('no checkout with the wheels of another distribution: set PYPOSE_PEER_CHECKOUT')
    return Path(folder).resolve()


def start(checkout: Path, node: str, domain: int, log) -> subprocess.Popen:
    # What this environment's wheels have set for themselves is not for another environment's Python.
    foreign = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'AMENT_PREFIX_PATH')
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment |= {'ROS_DOMAIN_ID': str(domain), 'AMENT_PREFIX_PATH': str(checkout / '.venv')}
    python = Path(sys.executable) if checkout == OURS else checkout / '.venv' / 'bin' / 'python'
    return subprocess.Popen([python, checkout / 'scripts' / node, '--ros-args', *ARGUMENTS[node]], env=environment,
                            stdout=log, stderr=log, cwd=checkout)


def rclpy_version(checkout: Path) -> str:
    return next((checkout / '.venv').glob('lib/python3*/site-packages/ros_rclpy-*.dist-info')).name.split('-')[1]


@pytest.mark.parametrize('imu_is_ours', [True, False], ids=['imu_ours_graph_theirs', 'imu_theirs_graph_ours'])
def test_two_distributions_estimate_together(other, tmp_path, imu_is_ours):
    assert rclpy_version(other) != rclpy_version(OURS)
    imu, graph = (OURS, other) if imu_is_ours else (other, OURS)
    with reserved_domain() as domain, (tmp_path / 'log').open('w') as log:
        peer = Peer(domain)
        corrected, graphs = [], []
        peer.node.create_subscription(Odometry, 'odometry/corrected', corrected.append, qos.SENSOR(5000))
        peer.node.create_subscription(PoseGraph, 'pose_graph', graphs.append, qos.LATCHED)
        processes = [start(imu, 'imu_preintegration', domain, log), start(graph, 'pose_graph', domain, log)]
        try:
            peer.until(lambda: peer.imu.get_subscription_count() and peer.node.count_publishers('odometry/corrected')
                       and peer.node.count_subscribers('odometry/imu') >= 2, 'both nodes appear', 120)
            peer.play(circling(T0, 120.0), lambda: len(corrected) > 600, 'odometry in the map',
                      lambda stamp: pose_message(stamp, circle_pose(T0, stamp)))
            found = convert.pose_from_msg(corrected[-1].pose.pose)
            at = circle_pose(T0, convert.stamp_from_msg(corrected[-1].header.stamp))
            np.testing.assert_allclose(found[:3], at[:3], atol=0.05)
            peer.until(lambda: graphs and len(graphs[-1].nodes) > 10, 'a message of our own type')
            path = tmp_path / 'map.g2o'
            answer = peer.call(SaveGraph, 'pose_graph/save_graph', SaveGraph.Request(path=str(path)))
            assert answer.success
            peer.until(lambda: {t.header.frame_id for t in peer.transforms} == {'map', 'odom'}, 'TF of both')
            for process in processes:
                process.send_signal(signal.SIGTERM)
            assert [process.wait(60) for process in processes] == [0, 0]
            back_end = PoseGraphBackEnd()
            back_end.load(path)
            assert len(back_end.keyframes) > 10
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            peer.close()
    assert 'Traceback' not in (tmp_path / 'log').read_text()
