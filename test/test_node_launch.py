"""The launch files, where launch is installed (it is not on PyPI); the tests of processes cover the nodes alike."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from node_rig import IDENTITY, Peer, reserved_domain

LAUNCH_FILES = Path(__file__).parents[1] / 'launch'
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(argv=[])
arguments = [a.split(':=') for a in sys.argv[2:]]
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)]))
sys.exit(service.run())
"""


@pytest.fixture
def launched(tmp_path):
    """(peer, start(file, *arguments) -> process of the launch service, log)."""
    pytest.importorskip('launch_ros', reason='ROS launch is not installed (apt or source; not on PyPI)')
    started = []
    with reserved_domain() as domain:
        peer = Peer(domain)

        def start(file: str, *arguments: str) -> subprocess.Popen:
            with (tmp_path / 'log').open('w') as log:
                started.append(subprocess.Popen(
                    [sys.executable, '-c', LAUNCH, LAUNCH_FILES / f'{file}.launch.py', *arguments], stdout=log,
                    stderr=subprocess.STDOUT, env=os.environ | {'ROS_DOMAIN_ID': str(domain)},
                    start_new_session=True))
            return started[-1]

        yield peer, start, tmp_path / 'log'
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        peer.close()


@pytest.fixture
def params(tmp_path) -> str:
    path = tmp_path / 'params.yaml'
    path.write_text(f'/**/imu_preintegration:\n  ros__parameters:\n    extrinsic_imu_to_base: {list(IDENTITY)}\n')
    return f'params_file:={path}'


def ends_cleanly(process: subprocess.Popen, log: Path) -> None:
    os.killpg(process.pid, signal.SIGINT)
    process.wait(30)
    assert 'process has finished cleanly' in log.read_text()


def test_a_launched_node_has_its_topics_remapped_and_ends_cleanly_on_ctrl_c(launched, params):
    peer, start, log = launched
    process = start('imu_preintegration', 'namespace:=robot', 'imu:=/imu/data_raw', 'output:=/odometry/imu', params)
    peer.until(lambda: peer.imu.get_subscription_count(), 'the node hears /imu/data_raw', 60)
    peer.until(lambda: peer.node.count_publishers('/odometry/imu'), 'it answers on /odometry/imu')
    assert peer.node.count_publishers('/robot/tf') and not peer.node.count_publishers('/tf')
    ends_cleanly(process, log)


def test_without_autostart_the_node_waits_for_its_manager(launched):
    peer, start, _ = launched
    start('imu_preintegration', 'autostart:=false')
    peer.until(lambda: 'imu_preintegration' in peer.node.get_node_names(), 'the node appears', 120)
    peer.spin(1.0)
    assert not peer.node.count_publishers('/odometry/imu')


def test_the_pose_graph_is_launched_with_its_topics(launched):
    peer, start, log = launched
    process = start('pose_graph', 'odometry:=/wheels')
    peer.until(lambda: peer.node.count_subscribers('/wheels') and peer.node.count_publishers('/pose_graph'),
               'the node appears', 120)
    ends_cleanly(process, log)


@pytest.mark.parametrize('mode, nodes', [
    ('mapping', {'imu_preintegration', 'pose_graph', 'loop_closure'}), ('odometry', {'imu_preintegration'}),
    ('graph', {'pose_graph', 'loop_closure'})])
def test_bringup_runs_the_nodes_of_its_mode_in_one_process(launched, params, mode, nodes):
    peer, start, log = launched
    process = start('bringup', f'mode:={mode}', 'imu:=/sensors/imu', params)
    peer.until(lambda: nodes <= set(peer.node.get_node_names()), 'the nodes appear', 120)
    assert set(peer.node.get_node_names()) == nodes | {'peer'}
    if 'imu_preintegration' in nodes:
        peer.until(lambda: peer.node.count_subscribers('/sensors/imu') == 1, 'the IMU is heard where it was told')
    ends_cleanly(process, log)
