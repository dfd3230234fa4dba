"""Several nodes in one process: connected without the middleware, and ended together."""
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import rclpy
from graph_rig import odometry_bytes
from nav_msgs.msg import Odometry
from node_rig import IDENTITY, T0, Peer, circle_pose, circling, pose_message, reserved_domain
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from pypose_core.online.back_end import PoseGraphBackEnd
from pypose_ros import convert, qos
from pypose_ros.bringup import main, own_arguments
from pypose_ros.run import share_clock
from pypose_ros.torch_core import Channel, TorchCore

SCRIPT = Path(__file__).parents[1] / 'scripts' / 'bringup'


@pytest.fixture
def started(tmp_path):
    """(peer, process, log) of a bringup of both nodes."""
    with reserved_domain() as domain:
        peer = Peer(domain)
        log = tmp_path / 'log'
        with log.open('w') as out:
            process = subprocess.Popen(
                [sys.executable, SCRIPT, '--nodes', 'imu_preintegration,pose_graph', '--ros-args',
                 '-p', f'imu_preintegration:extrinsic_imu_to_base:={list(IDENTITY)}',
                 '-p', 'imu_preintegration:init.mode:=pose', '-p', 'pose_graph:keyframe.distance:=0.2',
                 '-p', f'pose_graph:autosave_on_shutdown:={tmp_path / "auto.g2o"}'],
                stdout=out, stderr=out, env=os.environ | {'ROS_DOMAIN_ID': str(domain)})
        yield peer, process, log
        if process.poll() is None:
            process.kill()
        process.wait()
        peer.close()


def test_the_graph_takes_the_odometry_of_its_neighbour_and_a_signal_saves_and_ends_both(started, tmp_path):
    peer, process, log = started
    corrected = []
    peer.node.create_subscription(Odometry, 'odometry/corrected', corrected.append, qos.SENSOR(5000))
    peer.until(lambda: peer.imu.get_subscription_count() and peer.pose.get_subscription_count(),
               'the nodes appear', 120)
    peer.play(circling(T0, 120.0), lambda: len(corrected) > 300, 'odometry in the map',
              lambda stamp: pose_message(stamp, circle_pose(T0, stamp)))
    assert peer.node.count_subscribers('/odometry') == 1        # imu_preintegration's own corrections
    # Nobody but this test's own peer hears odometry/imu through DDS: the neighbour got it directly.
    assert peer.node.count_subscribers('/odometry/imu') == 1
    stamp = convert.stamp_from_msg(corrected[-1].header.stamp)
    found = convert.pose_from_msg(corrected[-1].pose.pose)
    np.testing.assert_allclose(found[:3], circle_pose(T0, stamp)[:3], atol=0.05)
    peer.until(lambda: {t.header.frame_id for t in peer.transforms} == {'map', 'odom'}, 'TF of both')
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    text = log.read_text()
    assert 'Traceback' not in text and text.count('inactive') == 2
    back_end = PoseGraphBackEnd()
    back_end.load(tmp_path / 'auto.g2o')
    assert len(back_end.keyframes) > 5      # of the 1.5 m that were heard, at least


def test_a_name_that_is_no_node_is_refused_with_the_ones_there_are(capsys):
    with pytest.raises(SystemExit) as refused:
        main(['--nodes', 'imu_preintegration,teleporter'])
    error = capsys.readouterr().err
    assert refused.value.code == 2 and 'teleporter' in error and 'pose_graph' in error


def test_a_remapping_of_the_user_goes_before_the_connection():
    names = ['imu_preintegration', 'pose_graph']
    own = ['--ros-args', '-r', 'odometry:=odometry/imu', '-r', 'pose:=map_pose']
    assert own_arguments('pose_graph', names, []) == own
    assert own_arguments('pose_graph', names, ['-r', 'pose_graph:odometry:=/wheels']) == [own[0], *own[3:]]
    assert own_arguments('pose_graph', ['pose_graph'], []) == []


def test_a_channel_hands_over_in_the_listeners_thread_until_it_stops():
    posted, got = [], []
    channel = Channel()
    stop = channel.subscribe(posted.append, got.append)
    channel.publish('a')
    assert not got and len(posted) == 1
    posted[0]()
    stop()
    channel.publish('b')
    assert got == ['a'] and len(posted) == 1 and not channel.heard
    core = TorchCore('cpu')
    assert core.channel('/x') is core.channel('/x') is not core.channel('/y')


def test_a_neighbour_that_polls_is_not_woken_and_finds_the_newest_in_order():
    channel, box, calls = Channel(), deque(maxlen=3), []
    channel.subscribe(lambda call: calls.append(call), print)
    undo = channel.collect(box)
    for item in range(5):
        channel.publish(item)
    assert list(box) == [2, 3, 4] and len(calls) == 5
    undo()
    channel.publish(5)
    assert list(box) == [2, 3, 4] and channel.heard


def test_one_subscription_of_a_simulated_clock_serves_all_nodes_that_follow_it():
    context = rclpy.Context()
    with reserved_domain() as domain:
        context.init(domain_id=domain)
        nodes = [rclpy.create_node(f'node_{k}', context=context,
                                   parameter_overrides=[Parameter('use_sim_time', value=simulated)])
                 for k, simulated in enumerate((False, True, True, True))]
        try:
            share_clock(nodes)
            assert [sum(s.topic_name == '/clock' for s in node.subscriptions) for node in nodes] == [0, 1, 0, 0]
            nodes[1]._time_source.clock_callback(Clock(clock=convert.stamp_to_msg(T0 + 7)))
            assert [node.get_clock().now().nanoseconds for node in nodes[1:]] == 3 * [T0 + 7]
            assert nodes[0].get_clock().now().nanoseconds != T0 + 7
        finally:
            for node in nodes:
                node.destroy_node()
            context.try_shutdown()


PARENT_PROGRAM = """
import sys, time
from pathlib import Path
from pypose_ros.children import Child, private_environment
work = Path(sys.argv[1])
command = [sys.executable, '-c', 'from pypose_ros.run import run_nodes; print("up", flush=True); run_nodes([])']
with private_environment(work) as environment:
    child = Child('nodes', command, environment, work)
    child.wait_for_line('up', [])
    print(child._child.pid, flush=True)
    time.sleep(600)
"""


def runs(process: Path) -> bool:
    try:
        return (process / 'stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def test_nodes_end_when_the_program_that_started_them_is_killed(tmp_path):
    command = [sys.executable, '-c', PARENT_PROGRAM, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = Path(f'/proc/{int(parent.stdout.readline())}')
        assert runs(child)
        parent.kill()
    deadline = time.monotonic() + 60.0
    while runs(child):
        assert time.monotonic() < deadline, 'the nodes live on'
        time.sleep(0.1)


def test_without_a_neighbour_the_graph_listens_to_the_middleware(graph_rig):
    node = graph_rig.start()
    graph_rig.odom.publish(odometry_bytes(T0, IDENTITY))
    graph_rig.until(lambda: len(node.back_end.keyframes) == 1, 'a keyframe')
