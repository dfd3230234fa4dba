"""Faults of pose_graph over DDS, by the numbers of the interface description.

1, 2, 4, 11, 20 and 21 of this node are in test_node_pose_graph.py, 18 in test_node_pose_graph_process.py. 3 is here as
what a gap and a leap of odometry are to a graph; a gap of the IMU itself, 6, 7, 8 and 19 are imu_preintegration's
(test_node_faults_*.py, test_online_initialization.py). 16 concerns networks, of which this node has none: its
counterpart is a session that cannot be loaded. Several faults share a node where they do not touch each other.
"""
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from graph_rig import NODE, edge_message, odometry_bytes
from node_rig import IDENTITY, T0, pose_message
from sensor_msgs.msg import NavSatFix
from std_srvs.srv import Trigger

from pypose_core.online.correction import compose
from pypose_ros import convert, diagnostics
from pypose_ros.device import choose_device
from pypose_ros.missing import Missing

SECOND = 10 ** 9
DRIVING = {'keyframe__distance': 0.5, 'publish_period': 0.0}


def ahead(k: int, offset=(0.0, 0.0, 0.0)) -> np.ndarray:
    """A robot that drives along x, 0.1 m a step."""
    return np.array([0.1 * k + offset[0], offset[1], offset[2], 0, 0, 0, 1.0])


def drive(rig, begin: int, end: int, offset=(0.0, 0.0, 0.0), shift_ns: int = 0) -> None:
    rig.drive([T0 + shift_ns + k * SECOND // 10 for k in range(begin, end)],
              [ahead(k, offset) for k in range(begin, end)])


def in_map(rig) -> np.ndarray:
    return convert.pose_from_msg(rig.corrected[-1].pose.pose)


def test_3_and_10_a_gap_and_a_restarted_odometry_leave_the_robot_where_it_was_in_the_map(graph_rig, capfd):
    rig = graph_rig
    node = rig.start(**DRIVING)
    drive(rig, 0, 50)
    rig.until(lambda: len(rig.corrected) == 50, 'odometry in the map')
    before, covariance = in_map(rig), rig.corrected[-1].pose.covariance[0]
    # Odometry falls silent for a minute and comes back at its origin, as after a restart of its driver.
    drive(rig, 0, 50, offset=(-300.0, 0.0, 0.0), shift_ns=60 * SECOND)
    rig.until(lambda: len(rig.corrected) == 100, 'odometry after the gap')
    first = convert.pose_from_msg(rig.corrected[50].pose.pose)
    assert np.linalg.norm(first[:3] - before[:3]) < 0.6         # it goes on from the last keyframe
    np.testing.assert_allclose(in_map(rig)[:3] - first[:3], [4.9, 0, 0], atol=1e-9)
    # What nobody measured is not claimed to be known: 10 m of the break.
    assert rig.corrected[-1].pose.covariance[0] > 99 > 1 > covariance
    said = []
    rig.until(lambda: said.append(capfd.readouterr().err) or 'its source was restarted' in ''.join(said), 'the warning')
    assert ''.join(said).count('its source was restarted') == 1
    assert len(node.back_end.edges) == len(node.back_end.keyframes) - 1


def test_5_zeros_mean_unknown_and_minus_one_means_absent(graph_rig):
    rig = graph_rig
    node = rig.start(**DRIVING, pose_sigma=[0.5, 0.25], gnss_sigma=[3.0, 6.0], loop_sigma=[0.2, 0.1])
    back_end = node.back_end
    rig.fix.publish(NavSatFix(header=convert.header(T0, 'gps'), latitude=1.0))      # waits for odometry
    drive(rig, 0, 30)
    for k, covariance in ((10, np.zeros((6, 6))), (20, np.diag([-1.0, 1, 1, 1, 1, 1]))):
        rig.pose.publish(pose_message(T0 + k * SECOND // 10, ahead(k), covariance, frame='map'))
    rig.edge.publish(edge_message(ahead(10), ids=(0, 2)))
    rig.odom.publish(odometry_bytes(T0 + 10 * SECOND, ahead(100), covariance=np.diag([-1.0, 0, 0, 0, 0, 0])))
    rig.until(lambda: {'pose: field_absent', 'odometry: field_absent'} <= node.diagnostics.drops.keys()
              and len(back_end.priors) == 1 and (back_end.edges['kind'] == 1).any(), 'all are judged')
    np.testing.assert_allclose(back_end.priors['information'][0], np.diag([4.0] * 3 + [16.0] * 3))
    np.testing.assert_allclose(back_end.edges['information'][back_end.edges['kind'] == 1][0],
                               np.diag([25.0] * 3 + [100.0] * 3))
    rig.fix.publish(NavSatFix(header=convert.header(T0 + SECOND, 'gps'), latitude=1.0))
    rig.until(lambda: len(back_end.priors) == 2, 'the fix')
    np.testing.assert_allclose(np.diag(back_end.priors['information'][1])[:3], [1 / 9, 1 / 9, 1 / 36])


def test_9_without_loops_the_covariance_grows_with_the_way(graph_rig):
    rig = graph_rig
    rig.start(**DRIVING, odometry_sigma=[0.01, 0.001], odometry_drift=[0.0, 0.0])
    drive(rig, 0, 101)
    rig.until(lambda: len(rig.corrected) == 101, 'odometry in the map')
    x, y = (np.array([message.pose.covariance[k] for message in rig.corrected]) for k in (0, 7))
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    # 20 links of 1 cm; across the way those of 1 mrad, each with the way after it for a lever.
    links = 20
    np.testing.assert_allclose(x[-1], links * 1e-4, rtol=0.05)
    np.testing.assert_allclose(y[-1], links * 1e-4 + sum((0.5 * k) ** 2 * 1e-6 for k in range(links)), rtol=0.05)


def test_12_13_an_estimate_that_is_not_finite_and_a_stamp_that_repeats_are_not_sent(graph_rig):
    rig = graph_rig
    node = rig.start(**DRIVING)
    drive(rig, 0, 20)
    # The bag plays in another time than ours: TF has odometry's stamps, and 20 Hz repeat the last.
    rig.until(lambda: node.outputs.tf.suppressed > 3, 'repeated stamps')
    stamps = [convert.stamp_from_msg(t.header.stamp) for t in rig.transforms]
    assert len(stamps) == len(set(stamps)) and stamps == sorted(stamps)
    good = node.back_end.T_map_odom
    node.back_end.T_map_odom = np.full(7, np.nan)
    heard = len(rig.transforms)
    drive(rig, 20, 30)
    assert node.diagnostics.drops['output: not_finite'] == 10
    rig.spin(0.2)
    assert len(rig.corrected) == 20 and len(rig.transforms) == heard
    node.back_end.T_map_odom = good
    drive(rig, 30, 40)
    rig.until(lambda: len(rig.corrected) == 30, 'the output goes on')
    assert all(np.isfinite(convert.pose_from_msg(message.pose.pose)).all() for message in rig.corrected)


def test_14_an_overrun_is_told_with_the_wanted_and_the_actual_rate(graph_rig, monkeypatch):
    rig = graph_rig
    node = rig.start(**DRIVING, tf_rate=10.0)
    drive(rig, 0, 5)
    monkeypatch.setattr(node.outputs, 'publish_tf', lambda *_: time.sleep(0.4))
    status = rig.told(lambda s: 'Hz instead of 10' in s['message'], 'the overrun')
    assert status['level'] == diagnostics.WARN
    monkeypatch.undo()
    rig.told(lambda s: 'overrun' not in s['message'], 'it is over')


def test_messages_that_a_queue_lost_are_counted_and_told(graph_rig, capfd):
    rig = graph_rig
    node = rig.start(**DRIVING)
    drive(rig, 0, 40)
    drive(rig, 70, 100)         # 30 were overwritten on the way
    assert node.diagnostics.drops == {'odometry: missing': 30}
    assert capfd.readouterr().err.count('30 messages seem to be missing') == 1


def test_only_of_a_regular_source_it_is_known_what_is_missing():
    regular, irregular = Missing(), Missing()
    generator = np.random.default_rng(0)
    stamps = np.cumsum(SECOND // 10 + generator.integers(-SECOND // 100, SECOND // 100, 100))
    assert sum(regular.before(int(stamp)) for stamp in np.delete(stamps, slice(50, 57))) == 7
    assert sum(irregular.before(int(stamp)) for stamp in np.cumsum(generator.integers(1, SECOND, 100))) == 0
    assert regular.before(int(stamps[3])) == 0      # the clock went back


def missing(sent) -> int:
    """Told of, where of a source of 10 Hz the messages with these numbers came."""
    counter = Missing()
    return sum(counter.before(10 ** 18 + int(k) * SECOND // 10) for k in sent)


@pytest.mark.parametrize('share', [0.9, 0.5, 0.15])
def test_what_is_missing_is_counted_to_the_last_message_while_many_are_lost(share):
    generator = np.random.default_rng(0)
    sent = np.append(np.arange(20), 20 + np.sort(generator.choice(3000, round(3000 * share), replace=False)))
    assert missing(sent) == sent[-1] + 1 - len(sent)
    early = np.delete(np.arange(60), [3, 4, 9])
    assert missing(early) == 3
    # One that sends half as often from now on has lost nothing for long.
    slower = np.append(np.arange(100), np.arange(100, 3000, 2))
    assert missing(slower) < 300 and missing(slower) == missing(slower[:-500])


def test_15_and_16_a_missing_device_is_one_fallback_and_a_session_that_is_none_refuses_to_start(
        graph_rig, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    rig = graph_rig
    broken = tmp_path / 'map.g2o'
    broken.write_text('VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1\nEDGE_SE3:QUAT 0\n')
    node = rig.start(**DRIVING, device='cuda:0', load_on_start=str(broken))
    assert node.state == 'unconfigured'
    assert 'map.g2o:2' in capfd.readouterr().err
    rig.told(lambda s: 'map.g2o:2' in s['message'], 'what is wrong with the session')
    broken.write_text('VERTEX_SE3:QUAT 0 5 0 0 0 0 0 1\n')      # mended
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    rig.met()
    status = rig.told(lambda s: 'cuda:0 is not there' in s['message'], 'the fallback')
    assert status['device'] == 'cpu'
    assert capfd.readouterr().err.count('cuda:0 is not there') == 1
    drive(rig, 0, 2)
    rig.until(lambda: rig.corrected, 'the map goes on where the file ends')
    np.testing.assert_allclose(rig.corrected[0].pose.pose.position.x, 5.0, atol=1e-9)
    assert rig.call(Trigger, f'{NODE}/reset', Trigger.Request()).success
    np.testing.assert_allclose(compose(node.back_end.T_map_odom, np.array(IDENTITY)), IDENTITY)


def test_15_a_device_that_is_there_and_cannot_compute_is_one_fallback_too(monkeypatch):
    if torch.version.cuda is not None and torch.cuda.is_available():
        pytest.skip('here the device computes')
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)        # as a driver says whose device was lost
    device, sentence = choose_device('auto')
    assert device.type == 'cpu' and sentence.startswith('device cuda:0 cannot be used (')


STARVED = """
import resource
import numpy as np
import torch
from pathlib import Path
from pypose_core.online.back_end import BackEndConfig, EdgeInput, PoseGraphBackEnd
from pypose_core.online.back_end.odometry import compose
from pypose_ros.device import fault
torch.set_num_threads(1)

def starve(extra, use):
    # Of address space as much as there is already, and `extra` bytes.
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(Path('/proc/self/statm').read_text().split()[0]) * 4096 + extra,
                                            limits[1]))
    try:
        return use()
    except Exception as error:
        return type(error).__name__
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)

assert fault(torch.device('cpu')) == ''
print('device:', starve(0, lambda: fault(torch.device('cpu'))))
back_end, count = PoseGraphBackEnd(BackEndConfig(keyframe_distance=0.0, robust='none')), 6000
pose, step = np.array([0.0, 0, 0, 0, 0, 0, 1]), np.array([0.5, 0, 0, 0, 0, np.sin(0.01), np.cos(0.01)])
for k in range(count):
    back_end.add_odometry((k + 1) * 10 ** 8, pose)
    pose = compose(pose, step)
for k in range(320, count, 7):
    back_end.add_edge(EdgeInput(np.array([0.1, 0, 0, 0, 0, 0, 1]), np.zeros((6, 6)), from_id=k - 314, to_id=k))
before = back_end.keyframes['pose'].copy()
job = back_end.begin_solve(force=True)
starve(2 ** 21, job.run)
back_end.poll()
assert job.solution is None and (back_end.keyframes['pose'] == before).all()
print('solve:', job.problem.splitlines()[0], '|', back_end.take_messages())
assert back_end.solve().solution is not None
print('afterwards:', back_end.last_job.solution.status)
"""


def test_11_and_15_without_memory_a_device_and_a_solve_fail_with_a_sentence_and_the_next_solve_succeeds():
    done = subprocess.run([sys.executable, '-c', STARVED], capture_output=True, text=True, timeout=200)
    said = dict(line.split(': ', 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'alloc' in said['device'] or 'memory' in said['device'].lower()
    assert 'a solve failed, the last good estimate stays' in said['solve']
    assert 'alloc' in said['solve'] or 'Memory' in said['solve']
