"""Recordings of real robots played through pose_graph and loop_closure in one process, with a config each."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from node_rig import Peer, reserved_domain

from pypose_core.online.correction import compose
from pypose_ros import convert, qos
from pypose_ros.bag import BagReader
from pypose_ros.msg import PoseGraphEdge
from pypose_ros.srv import SaveGraph

ROOT = Path(__file__).parents[1]


@pytest.fixture
def robot(data, tmp_path):
    """run(config, bag, remaps, rate, nodes) -> (peer, corrected odometry, edges): plays it and waits for the end."""
    processes = []
    with reserved_domain() as domain:
        peer = Peer(domain)
        corrected, edges = [], []
        peer.node.create_subscription(Odometry, 'odometry/corrected', corrected.append, qos.SENSOR(5000))
        peer.node.create_subscription(PoseGraphEdge, 'loop_closure', edges.append, qos.EVENTS)
        environment = os.environ | {'ROS_DOMAIN_ID': str(domain)}

        def run(config: str, bag: str, remaps: dict[str, str], rate: float, nodes: str = 'pose_graph,loop_closure'):
            with (tmp_path / 'log').open('w') as out:
                processes.append(subprocess.Popen(
                    [sys.executable, ROOT / 'scripts' / 'bringup', '--nodes', nodes, '--ros-args',
                     '--params-file', ROOT / 'config' / 'robots' / f'{config}.yaml', '-p', 'use_sim_time:=true'],
                    stdout=out, stderr=out, env=environment))
            peer.until(lambda: peer.node.count_publishers('odometry/corrected'), 'the nodes appear', 120)
            rules = [word for pair in remaps.items() for word in ('--remap', ':='.join(pair))]
            with (tmp_path / 'player').open('w') as out:
                player = subprocess.Popen(
                    [sys.executable, ROOT / 'scripts' / 'pypose-ros', 'play', data / 'bags' / bag, '--rate', str(rate),
                     '--wait-for', '/odometry', *rules], env=environment, stdout=out, stderr=out)
            processes.append(player)
            peer.until(lambda: player.poll() is not None, 'the bag ends', 120)
            assert player.returncode == 0, (tmp_path / 'player').read_text()
            seen = -1
            while len(corrected) > seen:        # what the node still has to work off
                seen = len(corrected)
                peer.spin(1.0)
            return peer, corrected, edges

        yield run
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
                assert 'Traceback' not in (tmp_path / 'log').read_text()
        peer.close()


def consistent(peer, corrected, messages: list) -> None:
    """map -> odom of TF times odometry is the odometry in the map, at the last message heard.

    Some are lost where the machine is busy (best effort); what was heard must be right.
    """
    assert len(corrected) > 0.5 * len(messages)
    odometry = {m.header.stamp.sec * 10 ** 9 + m.header.stamp.nanosec: pose_of(m) for m in messages}
    last = [t for t in peer.transforms if (t.header.frame_id, t.child_frame_id) == ('map', 'odom')][-1]
    expected = compose(convert.transform_from_msg(last.transform),
                       odometry[convert.stamp_from_msg(corrected[-1].header.stamp)])
    np.testing.assert_allclose(convert.pose_from_msg(corrected[-1].pose.pose)[:3], expected[:3], atol=0.05)


def read(path: Path, topic: str) -> list:
    with BagReader(path) as bag:
        return [bag.decode(message) for message in bag.messages({topic})]


def pose_of(message) -> np.ndarray:
    p, q = message.pose.pose.position, message.pose.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


@pytest.mark.slow
def test_a_neato_that_never_comes_back_closes_no_loops(robot, data, tmp_path):
    peer, corrected, edges = robot('neato', 'macfirst_floor_take_2', {'/odom': '/odometry'}, 4.0)
    messages = read(data / 'bags' / 'macfirst_floor_take_2', '/odom')
    consistent(peer, corrected, messages)
    answer = peer.call(SaveGraph, 'pose_graph/save_graph', SaveGraph.Request(path=str(tmp_path / 'neato.g2o')))
    assert answer.success and not edges


def test_a_turtlebot_under_nav2_agrees_with_amcl_and_leaves_tf_to_it(robot, data):
    peer, corrected, _ = robot('turtlebot_nav2', 'evo_nav2_turtlebot.mcap',
                               {'/odom': '/odometry', '/amcl_pose': '/pose'}, 6.0)
    amcl = read(data / 'bags' / 'evo_nav2_turtlebot.mcap', '/amcl_pose')
    stamps = np.array([convert.stamp_from_msg(m.header.stamp) for m in corrected])
    gaps = [np.linalg.norm(convert.pose_from_msg(corrected[int(abs(stamps - at).argmin())].pose.pose)[:2]
                           - pose_of(m)[:2])
            for m in amcl[len(amcl) // 2:]
            if abs(stamps - (at := m.header.stamp.sec * 10 ** 9 + m.header.stamp.nanosec)).min() < 10 ** 8]
    assert len(gaps) > 20 and np.median(gaps) < 0.3
    assert not any('broadcasts map -> odom' in status.message for status in peer.diagnostics)


@pytest.mark.slow
def test_a_husky_is_turned_to_the_north_by_its_fixes(robot, data):
    peer, corrected, _ = robot('husky', 'robot_localization_test1_husky.bag',
                               {'/husky_velocity_controller/odom': '/odometry'}, 10.0)
    messages = read(data / 'bags' / 'robot_localization_test1_husky.bag', '/husky_velocity_controller/odom')
    consistent(peer, corrected, messages)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_jackals_imu_and_wheels_agree_through_both_nodes(robot, data):
    peer, corrected, _ = robot('jackal', 'robot_localization_test2_jackal.bag',
                               {'/jackal_velocity_controller/odom': '/odometry', '/imu/data': '/imu/data_raw'}, 1.0,
                               'imu_preintegration,pose_graph')
    wheels = read(data / 'bags' / 'robot_localization_test2_jackal.bag', '/jackal_velocity_controller/odom')
    way = np.array([pose_of(m)[:2] for m in wheels])
    ours = np.array([convert.pose_from_msg(m.pose.pose)[:2] for m in corrected])
    driven, found = (np.linalg.norm(np.diff(path[::25], axis=0), axis=1).sum() for path in (way, ours))
    assert len(corrected) > 1000 and driven > 5.0 and abs(found / driven - 1) < 0.15
    heard = {(t.header.frame_id, t.child_frame_id) for t in peer.transforms}
    assert {('map', 'odom'), ('odom', 'base_link')} <= heard
