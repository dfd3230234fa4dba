"""Replay through the middleware: the node as its own process, a player and a recorder beside it."""
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pypose_ros.children import private_environment, process
from pypose_ros.nodes.imu_preintegration_params import NODE_NAME, ImuPreintegrationParams
from pypose_ros.params import dump_yaml

from . import messages
from .errors import RunError
from .estimate import Estimate
from .live_timing import CpuAccount, LiveTiming
from .reader import BagReader
from .recorder_topics import BIAS_TOPIC, ODOMETRY_TOPIC, last_diagnostics
from .recording import BiasSeries, OdometrySeries, read_one
from .replay_input import ReplayInput
from .writer import BagWriter

_NODE = f'from pypose_ros.nodes.{NODE_NAME} import main; main()'


def replay_live(source: ReplayInput, params: ImuPreintegrationParams, work: Path, *, rate: float = 1.0,
                progress: Callable[[float], None] = lambda seconds: None) -> tuple[Estimate, LiveTiming, Path]:
    """Play the input to the node over DDS and record what it publishes.

    The processes share a private domain on the loopback interface, so that nothing else on the
    network hears them.

    Args:
        work: folder for the files in between.
        rate: speed of playing.
        progress: called with the seconds of the recording that were played since the last call.

    Returns:
        The estimate, the timing, and the recording (mcap) of what the node published.

    Raises:
        RunError: a process died or the node published nothing.
    """
    playlist, sent_path = work / 'playlist.mcap', work / 'sent.npy'
    recording, arrivals_path = work / 'recording.mcap', work / 'arrivals.npy'
    write_playlist(playlist, source, params)
    (work / 'params.yaml').write_text(dump_yaml(NODE_NAME, params, {
        'extrinsic_imu_to_base': source.T_base_imu.tolist(), 'use_sim_time': True}))
    node_command = [sys.executable, '-c', _NODE, '--ros-args', '--params-file', work / 'params.yaml']
    module = [sys.executable, '-m']
    with (private_environment(work) as environment,
          process('recorder', [*module, 'pypose_ros.bag.recorder', recording, arrivals_path], environment,
                   work) as recorder,
          process('node', node_command, environment, work) as node,
          process('player', [*module, 'pypose_ros.bag.player', playlist, sent_path, rate], environment,
                   work) as player):
        together = [recorder, node, player]
        recorder.wait_for_line('ready', together)
        player.wait_for_line('ready', together)
        cpu, begin, account = node.cpu_seconds(), time.monotonic(), CpuAccount()
        player.tell()
        played = 0.0
        for line in player.lines():
            progress(float(line) - played)
            played = float(line)
            node.check()
        player.finish()
        wall, withheld = time.monotonic() - begin, account.withheld()
        time.sleep(0.5)             # what is still on its way
        cpu = node.cpu_seconds() - cpu
        node.check()
        events = node.complaints()      # before the silence after playing, of which it complains too
        recorder.tell()
        recorder.finish()
        node.terminate()
    estimate = read_estimate(recording, source)
    estimate.events += events
    timing = measure(np.load(sent_path), np.load(arrivals_path), params, cpu, wall, withheld)
    return estimate, timing, recording


def write_playlist(path: Path, source: ReplayInput, params: ImuPreintegrationParams) -> None:
    """The input as a bag of the node's own topics, in the order of arrival, at the stamps' clock."""
    imu, frame = source.imu, source.imu.frames[0]
    with BagWriter(path) as bag:
        for arrival, kind, k in source.schedule():
            if kind == 0:
                bag.write('/imu/data_raw', arrival, messages.imu_as_recorded(
                    imu.stamps_ns[k], frame, imu.samples[k], imu.orientation[k], imu.covariances[k]))
                continue
            c = source.corrections[kind - 1]
            if c.kind == 'pose':
                bag.write('/pose', arrival, messages.pose_with_covariance(
                    c.stamps_ns[k], params.odom_frame, c.poses[k], c.covariances[k]))
            else:
                bag.write('/odometry', arrival, messages.odometry(
                    c.stamps_ns[k], params.odom_frame, params.base_frame, c.poses[k], np.zeros(6),
                    c.covariances[k]))


def read_estimate(recording: Path, source: ReplayInput) -> Estimate:
    """What the node published, as arrays."""
    with BagReader(recording) as bag:
        topics = [topic.name for topic in bag.topics]
        if ODOMETRY_TOPIC not in topics:
            facts = last_diagnostics(bag) if topics else {}
            said = ', '.join(f'{key}: {value}' for key, value in facts.items()
                             if key == 'estimator' or key.startswith('dropped'))
            raise RunError(f'the node published no odometry{f" ({said})" if said else ""}')
        odometry = read_one(bag, ODOMETRY_TOPIC, OdometrySeries)
        bias = read_one(bag, BIAS_TOPIC, BiasSeries) if BIAS_TOPIC in topics else None
        facts = last_diagnostics(bag)
    counters = {key.removeprefix('estimator '): int(value) for key, value in facts.items()
                if key.startswith('estimator ')}
    # What the node refused before the estimator saw it; the rest is in the estimator's own counts.
    counters |= {key: int(value) for key, value in facts.items()
                 if key.startswith('dropped') and key.rpartition(': ')[2] not in counters}
    return Estimate(
        odometry.stamps_ns, odometry.poses, odometry.twists[:, :3], odometry.twists[:, 3:],
        odometry.covariances, odometry.twist_covariances,
        bias.stamps_ns if bias else np.empty(0, np.int64), bias.biases if bias else np.empty((0, 6)),
        bias.covariances if bias else np.empty((0, 6, 6)), dict(sorted(counters.items())), [])


def measure(sent, arrivals, params: ImuPreintegrationParams, cpu: float, wall: float,
            withheld: float = 0.0) -> LiveTiming:
    """Match outputs to samples by their stamps.

    Args:
        sent: (N, 2) stamp and time of publication of each IMU sample, ns.
        arrivals: (M, 3) stamp, time of publication and of reception of each output, ns.
    """
    stamps = sent[:, 0] + round(params.time_offset * 1e9)
    order = np.argsort(stamps, kind='stable')
    place = order[np.searchsorted(stamps, arrivals[:, 0], sorter=order).clip(0, len(stamps) - 1)]
    matched = stamps[place] == arrivals[:, 0]
    place, arrivals = place[matched], arrivals[matched]
    output_ms = (arrivals[:, 1] - sent[place, 1]) * 1e-6
    received_ms = (arrivals[:, 2] - sent[place, 1]) * 1e-6
    # Every sample from the first answered one on asks for an output, unless outputs are decimated.
    expected = len(sent) - int(place.min()) if len(place) and not params.publish_rate else len(place)
    return LiveTiming(output_ms, received_ms, expected, expected - len(np.unique(place)), cpu, wall,
                      withheld)
