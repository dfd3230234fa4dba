"""Replay through the middleware: the node as its own process, a player and a recorder beside it."""
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pypose_ros.nodes.imu_preintegration_params import NODE_NAME, ImuPreintegrationParams
from pypose_ros.params import dump_yaml

from . import messages
from .errors import RunError
from .estimate import Estimate
from .live_timing import CpuAccount, LiveTiming
from .reader import BagReader
from .recorder_topics import BIAS_TOPIC, ODOMETRY_TOPIC, last_diagnostics
from .recording import read_series
from .replay_input import ReplayInput
from .writer import BagWriter

START_TIMEOUT = 60.0    # s; a loaded machine imports torch in ten
STOP_TIMEOUT = 30.0
_PROFILE = Path(__file__).with_name('templates') / 'fastdds_loopback.xml'
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
    environment = private_environment(work)
    node_command = [sys.executable, '-c', _NODE, '--ros-args', '--params-file', work / 'params.yaml']
    module = [sys.executable, '-m']
    with (_process('recorder', [*module, 'pypose_ros.bag.recorder', recording, arrivals_path], environment,
                   work) as recorder,
          _process('node', node_command, environment, work) as node,
          _process('player', [*module, 'pypose_ros.bag.player', playlist, sent_path, rate], environment,
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


def private_environment(work: Path) -> dict[str, str]:
    """This process's environment with a domain of the run's own, on loopback."""
    environment = dict(os.environ)
    environment.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    # Chosen outside numpy's and the flight's generators: it must differ from run to run.
    environment['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):    # Jazzy, Kilted
        environment[name] = str(_PROFILE)
    environment['ROS_LOG_DIR'] = str(work / 'log')
    environment['PYTHONUNBUFFERED'] = '1'
    return environment


def read_estimate(recording: Path, source: ReplayInput) -> Estimate:
    """What the node published, as arrays."""
    with BagReader(recording) as bag:
        topics = [topic.name for topic in bag.topics]
        if ODOMETRY_TOPIC not in topics:
            facts = last_diagnostics(bag) if topics else {}
            said = ', '.join(f'{key}: {value}' for key, value in facts.items()
                             if key == 'estimator' or key.startswith('dropped'))
            raise RunError(f'the node published no odometry{f" ({said})" if said else ""}')
        wanted = [name for name in (ODOMETRY_TOPIC, BIAS_TOPIC) if name in topics]
        series = read_series(bag, wanted)
        facts = last_diagnostics(bag)
    odometry, bias = series[ODOMETRY_TOPIC], series.get(BIAS_TOPIC)
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


class _Process:
    """A child whose stdout is read line by line and whose stderr is kept for its last words."""

    def __init__(self, name: str, command: list, environment: dict[str, str], work: Path):
        self.name = name
        self._errors = work / f'{name}.log'
        with self._errors.open('wb') as errors:
            self._child = subprocess.Popen(
                [str(part) for part in command], env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)

    def check(self) -> None:
        """RunError if it has died."""
        if self._child.poll() is not None:
            self._fail()

    def _fail(self) -> None:
        words = [line for line in self._errors.read_text(errors='replace').splitlines() if line.strip()]
        raise RunError(f'the {self.name} ended with code {self._child.returncode}'
                       + (f': {words[-1][:300]}' if words else ''))

    def complaints(self) -> list[str]:
        """The warnings and errors of its log so far, without their times."""
        lines = self._errors.read_text(errors='replace').splitlines()
        found = (re.match(r'\[(WARN|ERROR|FATAL)\] \[[\d.]+\] \[[^]]*\]: (.*)', line) for line in lines)
        return [f'{match[1].lower()}: {match[2]}' for match in found if match]

    def wait_for_line(self, wanted: str, others: list['_Process']) -> None:
        """Wait until it says so; RunError if any of the others dies meanwhile, or after START_TIMEOUT."""
        heard = threading.Event()

        def listen() -> None:
            for line in self._child.stdout:
                if line.strip() == wanted:
                    break
            heard.set()

        threading.Thread(target=listen, daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT
        while not heard.wait(0.1):
            for process in others:
                process.check()
            if time.monotonic() > deadline:
                raise RunError(f'the {self.name} was not ready after {START_TIMEOUT:g} s')
        self.check()

    def lines(self) -> Iterator[str]:
        """What it says from here to its end."""
        yield from (line.strip() for line in self._child.stdout)

    def tell(self) -> None:
        """Let it go on."""
        self._child.stdin.write('\n')
        self._child.stdin.flush()

    def finish(self) -> None:
        """Wait for its end; RunError unless it ended well."""
        try:
            self._child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise RunError(f'the {self.name} did not end within {STOP_TIMEOUT:g} s') from None
        if self._child.returncode:
            self._fail()

    def terminate(self) -> None:
        """Ask it to end by SIGTERM; it must do so with code 0."""
        self._child.terminate()
        self.finish()

    def kill(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            pipe.close()

    def cpu_seconds(self) -> float:
        """User and system time of the process so far (Linux)."""
        try:
            text = Path(f'/proc/{self._child.pid}/stat').read_text()
        except OSError:
            return float('nan')
        user, system = text.rpartition(')')[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


@contextmanager
def _process(name: str, command: list, environment: dict[str, str], work: Path) -> Iterator[_Process]:
    process = _Process(name, command, environment, work)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for the files of one run."""
    with tempfile.TemporaryDirectory(prefix='pypose-ros-') as folder:
        yield Path(folder)
