"""The node as a process of its own: signals, kill and restart, arguments as `ros2 run` gives them."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from node_rig import IDENTITY, PERIOD, T0, Peer, reserved_domain, standing

from pypose_ros.run import run

NODE = Path(__file__).parents[1] / 'scripts' / 'imu_preintegration'
EXTRINSIC = ('-p', f'extrinsic_imu_to_base:={list(IDENTITY)}')


class Process:
    """One run of the node; its log is kept in a file."""

    def __init__(self, domain: int, log: Path, *arguments: str):
        self._log = log
        with log.open('a') as out:
            self.popen = subprocess.Popen(
                [sys.executable, NODE, '--ros-args', *arguments], stdout=out, stderr=out,
                env=os.environ | {'ROS_DOMAIN_ID': str(domain)})

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int, cap: float = 60.0) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(cap)


@pytest.fixture
def network(tmp_path):
    """(peer, start(*arguments) -> Process) in a domain of their own."""
    started = []
    with reserved_domain() as domain:
        peer = Peer(domain)

        def start(*arguments: str) -> Process:
            started.append(Process(domain, tmp_path / 'node.log', *arguments))
            return started[-1]

        yield peer, start
        for process in started:
            if process.popen.poll() is None:
                process.popen.kill()
            process.popen.wait()
        peer.close()


def feed(peer: Peer, begin_ns: int) -> int:
    """Send an IMU at rest until output arrives; the stamp of the last sample sent."""
    heard = len(peer.odometry)
    return peer.play(standing(begin_ns, 120.0), lambda: len(peer.odometry) > heard + 10, 'output')


@pytest.mark.parametrize('number, executor', [(signal.SIGTERM, 'events'), (signal.SIGINT, 'single')])
def test_a_signal_ends_the_node_in_order_with_exit_code_0(network, number, executor):
    peer, start = network
    process = start(*EXTRINSIC, '-p', f'executor:={executor}')
    peer.until(lambda: peer.imu.get_subscription_count(), 'the node appears', 120)
    feed(peer, T0)
    assert process.end(number) == 0
    assert 'inactive' in process.log and 'Traceback' not in process.log


def test_a_second_signal_while_the_node_ends_does_not_kill_it(network):
    peer, start = network
    process = start('-p', 'autostart:=false')
    peer.until(lambda: 'imu_preintegration' in peer.node.get_node_names(), 'the node appears', 120)
    process.popen.send_signal(signal.SIGINT)
    for _ in range(6000):
        if process.popen.poll() is not None:
            break
        process.popen.send_signal(signal.SIGINT)
        peer.spin(0.01)
    assert process.popen.wait(60) == 0


def test_a_killed_node_that_is_started_again_takes_up_the_work(network):
    peer, start = network
    process = start(*EXTRINSIC)
    peer.until(lambda: peer.imu.get_subscription_count(), 'the node appears', 120)
    last = feed(peer, T0)
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    process = start(*EXTRINSIC)
    peer.until(lambda: 'active' in process.log.split('imu_link')[-1], 'the second one is active', 120)
    last = feed(peer, last + PERIOD)
    peer.until(lambda: peer.odometry[-1].stamp_ns > last - 100 * PERIOD, 'output of the newest samples')
    np.testing.assert_allclose(peer.odometry[-1].values[:3], 0, atol=0.01)
    assert process.end(signal.SIGTERM) == 0


def test_a_parameter_file_a_namespace_and_remappings_reach_the_node(network, tmp_path):
    peer, start = network
    params = tmp_path / 'params.yaml'
    params.write_text(f'imu_preintegration:\n  ros__parameters:\n    odom_frame: world\n'
                      f'    extrinsic_imu_to_base: {list(IDENTITY)}\n    init:\n      window: 0.2\n')
    process = start('-r', '__ns:=/robot', '--params-file', str(params), '-r', 'imu/data_raw:=/imu/data_raw',
                    '-r', 'odometry/imu:=/odometry/imu', '-r', '/tf:=tf')
    # Without a leading namespace the file's name matches no node of /robot: nothing is read from it.
    peer.until(lambda: peer.imu.get_subscription_count(), 'the node appears', 120)
    peer.until(lambda: ('imu_preintegration', '/robot') in peer.node.get_node_names_and_namespaces(), 'its name')
    peer.until(lambda: peer.node.count_publishers('/robot/tf') == 1, 'its TF')
    assert peer.node.count_publishers('/tf') == 0
    assert process.end(signal.SIGTERM) == 0
    params.write_text('/**:\n' + params.read_text().partition('\n')[2])
    process = start('-r', '__ns:=/robot', '--params-file', str(params), '-r', 'imu/data_raw:=/imu/data_raw',
                    '-r', 'odometry/imu:=/odometry/imu')
    peer.until(lambda: process.log.count('active') >= 3, 'the second one is active', 120)
    feed(peer, T0)
    assert peer.odometry[-1].frame_id == 'world'
    assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize('text', [None, 'a: [', 'imu_preintegration:\n  ros__parameters:\n    x: [0, 0.5]\n'])
def test_a_parameter_file_that_ros_cannot_read_is_one_clear_line_and_exit_code_2(tmp_path, capfd, text):
    path = tmp_path / 'params.yaml'
    if text is not None:
        path.write_text(text)
    assert run(pytest.fail, ['--ros-args', '--params-file', str(path)]) == 2
    ours = [line for line in capfd.readouterr().err.splitlines() if '[rcl]' not in line]
    assert len(ours) == 1 and str(path) in ours[0]


def test_an_unknown_parameter_leaves_the_process_unconfigured_and_named_in_the_log(network):
    peer, start = network
    process = start('-p', 'windw_size:=3')
    peer.until(lambda: 'windw_size: no such parameter (did you mean window_size?)' in process.log, 'the error', 120)
    assert process.popen.poll() is None
    assert process.end(signal.SIGTERM) == 0
