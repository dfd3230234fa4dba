"""A simulated robot with a mis-calibrated IMU and slipping wheels that learns its calibration while it drives.

Everything goes through the nodes: sensors over DDS, imu_preintegration, loop_closure and pose_graph in one process
(bringup), learner in another, its weights taken up by imu_preintegration between two samples. The only teacher is the
pose graph's result. Truth is used at the end alone: a further drive, which nobody has learned from, is preintegrated
over windows of 1 s and 5 s with the calibrated biases (version 1) and with the weights that are in use in the end.

    .venv/bin/python benchmarks/learning_live.py [--quick] [--json FILE]
"""
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from harness import Record, main
from imu_latency import environment

DRIVE = 600.0           # s that the robot learns from
UNSEEN = 60.0           # s after it
RATE = 3.0              # times real time; where the machine cannot keep up, simulated time passes slower
ERROR = 0.03            # scale factors and rad of misalignment
SCRIPTS = Path(__file__).parents[1] / 'scripts'
EXTRINSIC = '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]'


def start(folder: Path) -> list[subprocess.Popen]:
    """The nodes."""
    nodes = [f'imu_preintegration:{name}' for name in (
        f'extrinsic_imu_to_base:={EXTRINSIC}', 'allow_reload:=true', 'body_velocity_sigma:=[0.0, 0.05, 0.05]',
        'accel_scale:=1.0')]
    nodes += [f'loop_closure:{name}' for name in ('min_way:=0.3', 'search_radius:=1.5', 'max_candidates:=2')]
    nodes += ['pose_graph:keyframe.distance:=0.5', 'pose_graph:keyframe.time:=2.0']
    learner = (f'extrinsic_imu_to_base:={EXTRINSIC}', f'checkpoint_dir:={folder}', 'mode:=auto_promote',
               'round_period:=1.0', 'min_windows:=4')
    programs = ((['bringup', '--nodes', 'imu_preintegration,loop_closure,pose_graph'], nodes), (['learner'], learner))
    return [subprocess.Popen(
        [sys.executable, SCRIPTS / program[0], *program[1:], '--ros-args', *(x for p in params for x in ('-p', p))],
        stdout=(folder / f'{program[0]}.log').open('w'), stderr=subprocess.STDOUT)
        for program, params in programs]


def drive(seconds: float, rate: float, folder: Path):
    """Drive with the nodes beside; the simulator as it stands then, latencies, and what learner said."""
    import rclpy
    from nav_msgs.msg import Odometry
    from rclpy.executors import SingleThreadedExecutor

    from pypose_ros import cdr, qos
    from pypose_ros.msg import LearningStatus
    from pypose_ros.sim.command import SelfDriver, robot, world
    from pypose_ros.sim.node import SimulatorNode
    from pypose_ros.sim.node import drive as drive_node
    from pypose_ros.sim.simulator import Simulator
    course = world('empty', 1, laps=20, boxes=0)
    simulator = Simulator(course.walls, robot(1, calibration_error=ERROR))
    rclpy.init()
    driver = SelfDriver(course.path)
    begin_ns = simulator.stamp_ns
    node = SimulatorNode(simulator, course, driver=lambda s: driver(s) if s.stamp_ns - begin_ns > 3e9 else None)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    statuses, delays, read = [], [], cdr.Reader(Odometry)
    sent: dict[int, float] = {}
    node.create_subscription(LearningStatus, 'learner/status', statuses.append, qos.LATCHED)

    def heard(data: bytes) -> None:
        at = sent.pop(read(data).stamp_ns, None)
        if at is not None:
            delays.append(time.perf_counter() - at)

    node.create_subscription(Odometry, 'odometry/imu', heard, qos.SENSOR(1000), raw=True)
    while node.count_subscribers('imu/data_raw') < 2 or node.count_subscribers('scan') < 1:
        time.sleep(0.1)
    time.sleep(1.0)
    advance = node.advance

    def timed(dt: float):
        measured = advance(dt)
        sent[measured.stamp_ns] = time.perf_counter()
        return measured

    node.advance = timed
    hearing = threading.Thread(target=executor.spin)
    hearing.start()
    drive_node(node, rate=rate, until=lambda: simulator.stamp_ns - begin_ns >= seconds * 1e9)
    executor.shutdown()
    hearing.join()
    node.destroy_node()
    rclpy.try_shutdown()
    return simulator, driver, np.array(delays), statuses


def unseen(simulator, driver):
    """Samples and true states of a further drive."""
    from pypose_core.learning import KnownStates
    stamps, imu, states = [], [], []
    while len(stamps) < UNSEEN * simulator.config.imu.rate:
        measured = simulator.step(1 / simulator.config.imu.rate, driver(simulator))
        heading = simulator.pose[2]
        velocity = simulator.v * np.array([np.cos(heading), np.sin(heading), 0])
        stamps.append(measured.stamp_ns)
        imu.append(measured.imu)
        states.append(np.concatenate([simulator.truth, velocity, np.zeros(6)]))
    stamps = np.array(stamps)
    return stamps, np.array(imu), KnownStates(stamps, np.array(states))


def errors(path: Path, recorded, seconds: float) -> dict[str, float]:
    """Of windows of a drive, preintegrated with a file of weights."""
    from pypose_core.learning import PreintegrationLevel, cut_windows, load_checkpoint
    corrector = load_checkpoint(path).front_end.double()
    stamps, imu, states = recorded
    windows = cut_windows(stamps, imu, states, seconds=seconds, every=0.5, context=64)
    level = PreintegrationLevel(torch.tensor([0.0, 0.0, -9.80665]))
    with torch.no_grad():
        return level(corrector, windows).rmse()


def records(quick: bool) -> Iterator[Record]:
    """Errors before and after, and the latency while the learner trained."""
    environment()
    rate, seconds = RATE, 120.0 if quick else DRIVE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = start(folder)
        try:
            simulator, driver, delays, statuses = drive(seconds, rate, folder)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
        first, last = folder / 'weights_v1.pt', None
        if first.exists():
            from pypose_core.online.learner import WeightStore
            last = WeightStore(folder).in_use
            recorded = unseen(simulator, driver)
            for length in (1.0, 5.0):
                before, after = errors(first, recorded, length), errors(last, recorded, length)
                text = '; '.join(f'{key} {before[key]:.4g} -> {after[key]:.4g}' for key in before)
                for key in ('rotation_deg', 'position_m'):
                    yield Record(f'{key} of {length:g} s windows after {seconds:g} s', 'biases alone', after[key],
                                 before[key], before[key] / after[key], after[key] < before[key], 1.0,
                                 f'errors, not times: {text}; {last.name}; teacher: the pose graph alone; '
                                 f'{len(statuses)} statuses')
        p50, p99 = np.percentile(delays, [50, 99])
        yield Record(f'imu_preintegration with the learner training, {rate:g} times real time', 'target 5 ms', p99,
                     0.005, 0.005 / p99, True, None,
                     f'p99 from sending to hearing the output, p50 {1e3 * p50:.2f} ms, {len(delays)} samples')


if __name__ == '__main__':
    main(records, __doc__)
