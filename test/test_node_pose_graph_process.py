"""pose_graph as a process of its own: signals, and a kill in the middle of saving."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from graph_rig import odometry_bytes
from node_rig import Peer, reserved_domain

from pypose_core.online.back_end import PoseGraphBackEnd
from pypose_ros.srv import SaveGraph

SCRIPT = Path(__file__).parents[1] / 'scripts' / 'pose_graph'


@pytest.fixture
def started(tmp_path):
    """(peer, process): a node that makes every odometry message a keyframe."""
    with reserved_domain() as domain:
        peer = Peer(domain)
        with (tmp_path / 'log').open('w') as out:
            process = subprocess.Popen(
                [sys.executable, SCRIPT, '--ros-args', '-p', 'keyframe.distance:=0.0',
                 '-p', f'autosave_on_shutdown:={tmp_path / "auto.g2o"}'],
                stdout=out, stderr=out, env=os.environ | {'ROS_DOMAIN_ID': str(domain)})
        peer.until(lambda: peer.odom.get_subscription_count(), 'the node appears', 120)
        # Again and again: what is sent before the node knows the sender is lost.
        first = odometry_bytes(1, np.array([0, 0, 0, 0, 0, 0, 1.0]))
        peer.until(lambda: peer.odom.publish(first) or peer.status().get('keyframes') == '1', 'the first keyframe')
        yield peer, process
        if process.poll() is None:
            process.kill()
        process.wait()
        peer.close()


def drive(peer: Peer, begin: int, end: int) -> None:
    """Messages `begin` to `end` of a straight drive, a second apart; of a burst some may be lost on the way."""
    for k in range(begin, end):
        peer.odom.publish(odometry_bytes((k + 1) * 10 ** 9, np.array([0.1 * k, 0, 0, 0, 0, 0, 1])))
        if k % 20 == 0:
            peer.spin(0.02)


def keyframes(peer: Peer, above: int) -> int:
    """How many there are, once no more come; at least one more than `above`."""
    before = -1

    def settled() -> bool:
        nonlocal before
        last, before = before, int(peer.status().get('keyframes', 0))
        return last == before > above

    peer.until(settled, f'more than {above} keyframes')
    return before


def test_sigterm_saves_the_session_and_ends_with_code_0(started, tmp_path):     # SIGINT: test_node_bringup.py
    peer, process = started
    drive(peer, 0, 100)
    count = keyframes(peer, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    back_end = PoseGraphBackEnd()
    back_end.load(tmp_path / 'auto.g2o')
    assert len(back_end.keyframes) == count


def test_a_kill_in_the_middle_of_saving_leaves_a_graph_that_loads(started, tmp_path):
    peer, process = started
    drive(peer, 0, 400)
    first = keyframes(peer, 1)
    path = tmp_path / 'map.g2o'
    assert peer.call(SaveGraph, 'pose_graph/save_graph', SaveGraph.Request(path=str(path))).success
    drive(peer, 400, 1500)
    second = keyframes(peer, first)
    client = peer.node.create_client(SaveGraph, 'pose_graph/save_graph')
    peer.until(client.service_is_ready, 'the service')
    client.call_async(SaveGraph.Request(path=str(path)))
    # Strike while the new file is being written beside the old one.
    deadline = time.monotonic() + 15
    while not list(tmp_path.glob('.map.g2o.*.part')) and time.monotonic() < deadline:
        peer.spin(0.0)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    back_end = PoseGraphBackEnd()
    back_end.load(path)
    assert len(back_end.keyframes) in (first, second)
