"""The launch file, where launch is installed (it is not on PyPI); test_node_process.py covers the node alike."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from node_rig import IDENTITY, Peer, reserved_domain

LAUNCH_FILE = Path(__file__).parents[1] / 'launch' / 'imu_preintegration.launch.py'
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
    """(peer, start(*arguments) -> process of the launch service)."""
    pytest.importorskip('launch_ros', reason='ROS launch is not installed (apt or source; not on PyPI)')
    started = []
    with reserved_domain() as domain:
        peer = Peer(domain)

        def start(*arguments: str) -> subprocess.Popen:
            with (tmp_path / 'log').open('w') as log:
                started.append(subprocess.Popen(
                    [sys.executable, '-c', LAUNCH, LAUNCH_FILE, *arguments], stdout=log,
                    stderr=subprocess.STDOUT, env=os.environ | {'ROS_DOMAIN_ID': str(domain)},
                    start_new_session=True))
            return started[-1]

        yield peer, start, tmp_path / 'log'
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        peer.close()


def test_a_launched_node_has_its_topics_remapped_and_ends_cleanly_on_ctrl_c(launched, tmp_path):
    peer, start, log = launched
    params = tmp_path / 'params.yaml'
    params.write_text(f'/**:\n  ros__parameters:\n    extrinsic_imu_to_base: {list(IDENTITY)}\n')
    process = start('namespace:=robot', 'imu:=/imu/data_raw', 'output:=/odometry/imu', f'params_file:={params}')
    peer.until(lambda: peer.imu.get_subscription_count(), 'the node hears /imu/data_raw', 60)
    peer.until(lambda: peer.node.count_publishers('/odometry/imu'), 'it answers on /odometry/imu')
    assert peer.node.count_publishers('/robot/tf') and not peer.node.count_publishers('/tf')
    os.killpg(process.pid, signal.SIGINT)
    process.wait(30)
    assert 'process has finished cleanly' in log.read_text()


def test_without_autostart_the_node_waits_for_its_manager(launched):
    peer, start, _ = launched
    start('autostart:=false')
    peer.until(lambda: 'imu_preintegration' in peer.node.get_node_names(), 'the node appears', 60)
    peer.spin(1.0)
    assert not peer.node.count_publishers('/odometry/imu')
