"""A simulated robot with a mis-calibrated IMU and slipping wheels that learns its calibration while it drives.

Everything goes through the nodes: sensors over DDS, imu_preintegration, loop_closure and pose_graph in one process
(bringup), learner in another, its weights taken up by imu_preintegration between two samples. The only teacher is the
pose graph's result. Truth is used at the end alone, by this program: on a further drive, which nobody has learned from,
windows are predicted as the learner judges its own (state and biases from the first seven tenths, by the true poses
there), by every version that was in use, from the calibrated biases (version 1) on.

The robot learns at a multiple of real time; then, at real time, the latency of `odometry/imu` is measured while the
learner trains, round after round, and while it is told not to, twice each in turn. Times are taken before a sample is
published and when a process that does nothing but listen has the output; it hears the samples themselves too.

    .venv/bin/python benchmarks/learning_live.py [--quick] [--json FILE]
"""
import gc
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import Record, main
from imu_latency import cpu_seconds, priority

from pypose_ros.bag.live_timing import CpuAccount
from pypose_ros.children import private_environment

DRIVE = 360.0           # s that the robot learns from
UNSEEN = 120.0          # s after it
LISTEN = 10.0           # s of the robot's and of everybody's time in which latency is measured, four times
WANTED = 5e-3           # s, p99 of the latency
RATE = 2.5              # times real time; where the machine cannot keep up, simulated time passes slower
SEED = 2
ERROR, SLIP = 0.03, 0.02        # scale factors and rad of misalignment; share by which the wheels slip
SCRIPTS = Path(__file__).parents[1] / 'scripts'
EXTRINSIC = '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]'


def start(folder: Path) -> list[subprocess.Popen]:
    """The nodes."""
    nodes = [f'imu_preintegration:{name}' for name in (
        f'extrinsic_imu_to_base:={EXTRINSIC}', 'allow_reload:=true', 'body_velocity_sigma:=[0.0, 0.05, 0.05]',
        'accel_scale:=1.0')]
    nodes += [f'loop_closure:{name}' for name in ('min_way:=0.3', 'search_radius:=1.5', 'max_candidates:=1')]
    nodes += ['pose_graph:keyframe.distance:=0.5', 'pose_graph:keyframe.time:=2.0']
    learner = (f'extrinsic_imu_to_base:={EXTRINSIC}', f'checkpoint_dir:={folder}', 'mode:=auto_promote',
               'round_period:=2.0', 'min_windows:=4')
    programs = ((['bringup', '--nodes', 'imu_preintegration,loop_closure,pose_graph'], nodes), (['learner'], learner))
    return [subprocess.Popen(
        [sys.executable, SCRIPTS / program[0], *program[1:], '--ros-args', *(x for p in params for x in ('-p', p))],
        stdout=(folder / f'{program[0]}.log').open('w'), stderr=subprocess.STDOUT)
        for program, params in programs]


def listen(stop, answer) -> None:
    """A process that notes when it hears which stamps: [(CLOCK_MONOTONIC in ns, 8 bytes of the stamp)] by topic."""
    import rclpy
    from nav_msgs.msg import Odometry
    from rclpy.experimental.events_executor import EventsExecutor
    from rclpy.task import Future
    from sensor_msgs.msg import Imu

    from pypose_ros import qos
    rclpy.init()
    node, heard = rclpy.create_node('listener'), {}
    for kind, topic in ((Odometry, 'odometry/imu'), (Imu, 'imu/data_raw')):
        kept = heard[topic] = []
        node.create_subscription(kind, topic, lambda data, kept=kept: kept.append((time.monotonic_ns(), data[4:12])),
                                 qos.SENSOR(5000), raw=True)
    executor = EventsExecutor()
    executor.add_node(node)
    gc.disable()
    while not stop.is_set():
        executor.spin_until_future_complete(Future(), timeout_sec=0.5)
    answer.put(heard)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


@dataclass
class Listening:
    """Latencies in s from each sample's publication, and what the learner and the machine's host did meanwhile."""
    output: np.ndarray
    direct: np.ndarray
    sent: int
    learner: float
    """of one core."""
    withheld: float

    def __str__(self) -> str:
        lost = self.sent - len(self.output)
        return (f'p50 {1e3 * np.median(self.output):.2f}, p99 {1e3 * np.percentile(self.output, 99):.2f}, max '
                f'{1e3 * self.output.max():.1f} ms (the direct hop alone p99 '
                f'{1e3 * np.percentile(self.direct, 99):.2f}), lost {lost} of {self.sent}, learner '
                f'{100 * self.learner:.0f} % of a core, {100 * self.withheld:.1f} % of the machine withheld')


class Drive:
    """The robot with the nodes beside it, and what is heard of them."""

    def __init__(self):
        import rclpy
        from std_srvs.srv import SetBool

        from pypose_ros import qos
        from pypose_ros.msg import LearningStatus
        from pypose_ros.run import Spinner
        from pypose_ros.sim.command import SelfDriver, robot, world
        from pypose_ros.sim.node import SimulatorNode
        from pypose_ros.sim.simulator import Simulator
        course = world('empty', SEED, laps=20, boxes=0)
        self.simulator = Simulator(course.walls, robot(SEED, calibration_error=ERROR, slip=SLIP))
        self.driver, self._begin_ns = SelfDriver(course.path), self.simulator.stamp_ns
        rclpy.init()
        standing_ns = self._begin_ns + 3 * 10 ** 9
        self.node = SimulatorNode(self.simulator, course, driver=lambda s: (
            self.driver(s) if s.stamp_ns > standing_ns else None))
        self.statuses, self._sent, self._request = [], {}, SetBool.Request
        self.node.create_subscription(LearningStatus, 'learner/status', self.statuses.append, qos.LATCHED)
        self._enable = self.node.create_client(SetBool, 'learner/enable')
        self._publish, self.node._imu.publish = self.node._imu.publish, self._timed
        self._spinner = Spinner(self.node, 'events')
        self._spinner.start()
        processes = multiprocessing.get_context('spawn')
        self._stop, self._answer = processes.Event(), processes.Queue()
        self._listener = processes.Process(target=listen, args=(self._stop, self._answer), daemon=True)
        self._listener.start()

    def _timed(self, data: bytes) -> None:
        self._sent[self.simulator.stamp_ns] = time.monotonic_ns()
        self._publish(data)

    def await_nodes(self, seconds: float = 120.0) -> None:
        limit = time.monotonic() + seconds
        while self.node.count_subscribers('imu/data_raw') < 3 or self.node.count_subscribers('scan') < 1:
            if time.monotonic() > limit:
                raise TimeoutError(f'the nodes did not appear in {seconds:g} s')
            time.sleep(0.1)
        time.sleep(1.0)

    def on(self, seconds: float, rate: float) -> list[int]:
        """Drive on; the stamps of the samples that were published meanwhile."""
        from pypose_ros.sim.node import drive
        before, end_ns = len(self._sent), self.simulator.stamp_ns + round(seconds * 1e9)
        drive(self.node, rate=rate, until=lambda: self.simulator.stamp_ns >= end_ns)
        return list(self._sent)[before:]

    def measured(self, seconds: float, learner: int, *, trains: bool) -> tuple[list[int], float, float]:
        """Drive on at real time with the learner's process training or not: stamps, its share of a core, withheld."""
        self.train(trains)
        self.on(3.0, 1.0)       # a round that runs still ends
        account, cpu, begun = CpuAccount(), cpu_seconds(learner), time.monotonic()
        stamps = self.on(seconds, 1.0)
        share = (cpu_seconds(learner) - cpu) / (time.monotonic() - begun)
        return stamps, share, account.withheld()

    def heard(self, windows: list[tuple[list[int], float, float]]) -> Listening:
        """What the listener, which ends by this, heard of them."""
        if self._listener.is_alive():
            self._stop.set()
            self._arrivals = {
                topic: {int.from_bytes(raw[:4], 'little') * 10 ** 9 + int.from_bytes(raw[4:], 'little'): at
                        for at, raw in reversed(kept)} for topic, kept in self._answer.get(timeout=60).items()}
            self._listener.join()
        stamps = [stamp for window, *_ in windows for stamp in window]
        output, direct = (np.array([1e-9 * (at[stamp] - self._sent[stamp]) for stamp in stamps if stamp in at])
                          for at in (self._arrivals['odometry/imu'], self._arrivals['imu/data_raw']))
        return Listening(output, direct, len(stamps), *(float(np.mean(x)) for x in list(zip(*windows))[1:]))

    def train(self, wanted: bool) -> None:
        self._enable.call(self._request(data=wanted), timeout_sec=60.0)

    def stop(self) -> None:
        import rclpy
        self._stop.set()
        self._spinner.stop()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def unseen(self, seconds: float):
        """Samples, keyframes and true poses of a further drive, without the nodes."""
        simulator, stamps, imu, truth = self.simulator, [], [], []
        while len(stamps) < seconds * simulator.config.imu.rate:
            measured = simulator.step(1 / simulator.config.imu.rate, self.driver(simulator))
            stamps.append(measured.stamp_ns)
            imu.append(measured.imu)
            truth.append(simulator.truth)
        every = slice(0, None, round(simulator.config.imu.rate / 2))
        stamps = np.array(stamps)
        return stamps, np.array(imu), stamps[every], np.array(truth)[every]


def judged(folder: Path, recorded) -> list[tuple[float, float]]:
    """rad and m of predictions by each version that was in use, in the order of their use."""
    from pypose_core.online.learner import CorrectorLearner, LearnerConfig, WeightStore
    with tempfile.TemporaryDirectory() as other:
        judge = CorrectorLearner(LearnerConfig(), WeightStore(other))
        train, held_out, _ = judge.windows(*recorded)
        store = WeightStore(folder)
        return [judge.rmse(store.load(store.path(version)).front_end, train + held_out) for version in store.versions]


def records(quick: bool) -> Iterator[Record]:
    """Errors before and after, and the latency while the learner trains."""
    seconds, listened = (200.0, 5.0) if quick else (DRIVE, LISTEN)
    with tempfile.TemporaryDirectory() as name, private_environment(Path(name)) as environment:
        os.environ |= environment
        folder = Path(name)
        processes = start(folder)
        try:
            drive = Drive()
            try:
                drive.await_nodes()
                begun = time.monotonic()
                drive.on(seconds, RATE)
                took = time.monotonic() - begun
                windows = {True: [], False: []}
                for trains in (True, False, True, False):
                    windows[trains].append(drive.measured(listened, processes[1].pid, trains=trains))
                training, alone = drive.heard(windows[True]), drive.heard(windows[False])
            finally:
                drive.stop()
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
        errors = judged(folder, drive.unseen(UNSEEN))
        yield from gains(drive, errors, seconds, took)
        yield latency(training, alone)


def gains(drive: Drive, errors: list, seconds: float, took: float) -> Iterator[Record]:
    steps = max((status.step for status in drive.statuses), default=0)
    promoted = [status.status for status in drive.statuses if status.status.startswith('promoted')]
    numbers = [tuple(float(x) for x in re.search(r'held-out loss (\S+), in use (\S+?),', line).groups())
               for line in promoted]
    never_worse = all(new < old for new, old in numbers)
    text = (f'seed {SEED}, {seconds:g} s driven in {took:.0f} s of the wall, {steps} steps of training; predictions of '
            f'the last three tenths of 10 s windows of {UNSEEN:g} s of unseen driving, by truth; by version in use: '
            f'{", ".join(f"{rotation:.4f} rad {position:.3f} m" for rotation, position in errors)}; held-out losses at '
            f'each promotion, new < in use: {", ".join(f"{new:.3g} < {old:.3g}" for new, old in numbers)}')
    for k, quantity in enumerate(('rotation', 'position')):
        before, after = (errors[0][k], errors[-1][k]) if errors else (float('nan'), float('nan'))
        yield Record(f'{quantity} error live through the nodes, learned from the pose graph alone', 'biases alone',
                     after, before, before / after, len(errors) > 1 and after < before and never_worse, 1.0,
                     f'errors in {("rad", "m")[k]}, not times; {text}')


def latency(training: Listening, alone: Listening) -> Record:
    p99 = float(np.percentile(training.output, 99))
    return Record('imu/data_raw to odometry/imu at 200 Hz, p99 while the learner trains', 'the 5 ms asked for', p99,
                  WANTED, WANTED / p99, len(training.output) == training.sent and training.learner > 0.1, 1.0,
                  f'agrees: no sample is lost, and the learner takes more than a tenth of a core{priority()}. '
                  f'Training: {training}. Disabled: {alone}. Simulator, nodes and learner share {os.cpu_count()} cores')


if __name__ == '__main__':
    main(records, __doc__)
