"""The KITTI recording of an IMU and GPS, live through imu_preintegration and pose_graph in one process.

The graph gets one fix in ten, and its keyframes are linked by the IMU, as in examples/kitti_imu_gps.py; the others are
held out. For its start imu_preintegration gets the fixes of the first ten seconds as poses that look along the way,
and later those that the graph gets; the first ten seconds are therefore left out of the comparison. The recording is
sent as fast as the callbacks take it; nobody waits for a solve, and none is asked for.
"""
import runpy
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
import torch
from node_rig import IDENTITY, Peer, Sample, acquainted, pose_message, reserved_domain
from rclpy.parameter import Parameter
from sensor_msgs.msg import NavSatFix

from pypose_core.online.back_end.geodetic import LocalFrame
from pypose_ros import convert

ROOT = Path(__file__).parents[1]
DATUM = (49.0, 8.4, 110.0)
START = 10                      # fixes that tell imu_preintegration where it is and looks
EVERY, GPS_SIGMA = 10, 0.07


def parameters(noise) -> tuple[dict, dict]:
    imu = {'extrinsic_imu_to_base': IDENTITY, 'init.mode': 'pose', 'gravity': 9.81, 'accel_scale': 1.0,
           'time_offset': -0.005,       # a sample holds over the 10 ms before its stamp
           'max_velocity': 60.0, 'correction_timeout': 60.0, 'robust_kernel': 'none',
           **{name: getattr(noise, name) for name in ('gyroscope_noise_density', 'accelerometer_noise_density',
                                                      'gyroscope_random_walk', 'accelerometer_random_walk')}}
    graph = {'use_imu_factors': True, 'keyframe.distance': 1e3, 'keyframe.angle': 3.1, 'keyframe.time': 0.5,
             'odometry_sigma': [100.0, 1.0], 'odometry_drift': [0.0, 0.0], 'gnss_baseline': 0.0, 'datum': DATUM,
             'robust.method': 'none', 'optimizer.max_iterations': 30, 'publish_period': 1e3}
    return imu, graph


@pytest.fixture
def nodes():
    """start(imu, graph) -> (peer, imu_preintegration, pose_graph) in one process, as bringup has them."""
    from pypose_ros.nodes.imu_preintegration import ImuPreintegration
    from pypose_ros.nodes.pose_graph import PoseGraphNode
    from pypose_ros.run import Spinner
    from pypose_ros.torch_core import TorchCore
    made, spinners, context = [], [], rclpy.Context()
    with reserved_domain() as domain:
        peer = Peer(domain)
        context.init(domain_id=domain)

        def start(*given):
            core = TorchCore('cpu')
            remaps = ([], ['--ros-args', '-r', 'odometry:=odometry/imu', '-r', 'pose:=map_pose'])
            for kind, params, cli in zip((ImuPreintegration, PoseGraphNode), given, remaps):
                made.append(kind(context=context, core=core, cli_args=cli, parameter_overrides=[
                    Parameter(name, value=value) for name, value in params.items()]))
                spinners.append(Spinner(made[-1], 'events'))
                made[-1].trigger_configure()
                made[-1].trigger_activate()
            for spinner in spinners:
                spinner.start()
            return peer, *made

        yield start
        for spinner, node in zip(spinners, made):
            spinner.stop()
            node.destroy_node()
        context.try_shutdown()
        peer.close()


def fix_message(frame: LocalFrame, stamp_ns: int, position) -> NavSatFix:
    """A position (3,) east, north, up as a receiver would say it."""
    place, metres = np.array(DATUM), np.array([73e3, 111e3, 1.0])      # of a degree of longitude, latitude; a metre
    for _ in range(20):
        place = place + ((position - frame(*place)) / metres)[[1, 0, 2]]
    np.testing.assert_allclose(frame(*place), position, atol=1e-6)
    latitude, longitude, height = place.tolist()
    message = NavSatFix(header=convert.header(stamp_ns, 'gps'), latitude=latitude, longitude=longitude, altitude=height)
    message.position_covariance = (np.eye(3) * GPS_SIGMA ** 2).ravel()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    return message


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_held_out_fixes_are_met_within_a_fifth_of_the_batch_solution(nodes, data, capfd):
    example = runpy.run_path(str(ROOT / 'examples' / 'kitti_imu_gps.py'))
    fixes, samples, noise = example['load'](data / 'kitti_imu_gps')
    batch = example['build'](fixes, samples, noise).optimize().value['state'].numpy()
    fixes = fixes.numpy()
    recorded = np.loadtxt(data / 'kitti_imu_gps' / 'KittiEquivBiasedImu.txt', skiprows=1)[1:]

    def stamp(seconds: float) -> int:
        return 10 ** 9 + round((seconds - fixes[0, 0] + 1.0) * 1e9)

    peer, imu, graph = nodes(*parameters(noise))
    begin = time.monotonic()
    fix_of = peer.node.create_publisher(NavSatFix, 'fix', 10)
    peer.until(lambda: acquainted(peer.node, imu) and acquainted(peer.node, graph), 'peer and nodes find each other')
    frame = LocalFrame(*DATUM)
    sent = dict.fromkeys(('imu', 'pose', 'fix'), 0)

    def send(publisher, topic: str, message) -> None:
        publisher.publish(message)
        sent[topic] += 1

    def taken() -> bool:
        of_imu, of_graph = imu.diagnostics.rate, graph.diagnostics.rate
        return (of_graph('odometry').count == of_imu('output').count and of_graph('fix').count == sent['fix']
                and all(of_imu(topic).count == sent[topic] for topic in ('imu', 'pose')))

    close, wide = (np.diag([GPS_SIGMA ** 2] * 3 + [s] * 3) for s in (0.03, 100.0))
    after = 0
    for k, row in enumerate(recorded):
        while after < len(fixes) and fixes[after, 0] <= row[0]:
            at, position = stamp(fixes[after, 0]), fixes[after, 1:]
            if after and (after <= START or after % EVERY == 0):
                east, north = (position - fixes[after - 1, 1:])[:2]
                yaw = np.arctan2(north, east) if after <= START else 0.0
                pose = [*position, 0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]
                send(peer.pose, 'pose', pose_message(at, pose, close if after <= START else wide))
            if after % EVERY == 0:
                send(fix_of, 'fix', fix_message(frame, at, position))
                peer.until(taken, 'the nodes keep up')
            after += 1
        send(peer.imu, 'imu', Sample(stamp(row[0]), tuple(row[5:8]), tuple(row[2:5])).serialized())
        if k % 50 == 0:
            peer.until(taken, 'the nodes keep up')
    peer.until(taken, 'all is taken')
    peer.until(lambda: not graph.back_end.solving and (graph.back_end.priors['chi2'] > 0).all(),
               'the solve that knows the last fix')
    live = graph.back_end.T_map_base
    held_out = [k for k in range(START + 1, len(fixes)) if k % EVERY]
    way, stamps = graph.back_end.keyframes['pose'], graph.back_end.keyframes['stamp_ns']
    found = np.stack([np.interp([stamp(fixes[k, 0]) for k in held_out], stamps, way[:, axis]) for axis in (0, 1)], 1)
    speed = (fixes[-1, 0] - fixes[0, 0]) / (time.monotonic() - begin)
    ours, theirs = (float(np.sqrt(((at - fixes[held_out, 1:3]) ** 2).sum(1).mean()))
                    for at in (found, batch[held_out, :2]))
    with capfd.disabled():
        print(f'\nheld-out fixes: {ours:.4f} m live, {theirs:.4f} m in one batch; {len(stamps)} keyframes, '
              f'{speed:.0f} times real time, {len(graph.back_end.solves)} solves of '
              f'{np.median(graph.back_end.solves["duration"]):.2f} s')
    assert graph.back_end.inertial.links['known'][5:].all() and np.isfinite(live).all()
    assert not any(name.startswith(('fix', 'odometry')) for name in graph.diagnostics.drops)
    assert ours < 1.2 * theirs < 1.2 * 0.76 and torch.get_num_threads() == 1
