"""Latency, losses and CPU of the imu_preintegration node through DDS.

Three processes: a sender publishes Imu at a fixed rate, stamped with the time of sending (and, where solves
are asked for, a pose at 10 Hz, each of which makes the node solve its window); the node; and a receiver, which
takes the time at which each `odometry/imu` arrives. The receiver also hears the sender directly: that hop is
what DDS, Python and the other load of the machine cost without the node. On a machine that is busy with other
work, `chrt -f 20` before the command keeps that work out of the figures (the records say so).
"""
import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from harness import Record, main, seconds

from pypose_ros.bag.live_timing import CpuAccount

WARM_UP = 3.0           # s: the node initializes in the first
OPTIONS = {
    'extrinsic_imu_to_base': '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]', 'correction_timeout': '3600.0'}


@dataclass
class Run:
    """One run of one configuration."""
    p50: float
    p99: float
    hop_p99: float
    """s, of the sender's messages heard directly."""
    lost: int
    sent: int
    cpu: float
    """of one core, by the nodes' processes."""
    withheld: float
    """share of the machine's CPU time that its host gave to others."""
    each: dict[int, float]
    """s from stamp to arrival, by the stamp of the sample in ns."""


def environment() -> None:
    """Loopback only, fast discovery, a domain of this run's own: before rclpy.init() in every process."""
    profile = str(Path(__file__).parents[1] / 'test' / 'fastdds_loopback.xml')
    os.environ |= {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'FASTRTPS_DEFAULT_PROFILES_FILE': profile,
                   'FASTDDS_DEFAULT_PROFILES_FILE': profile, 'ROS_LOG_DIR': tempfile.gettempdir()}
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))


def send(rate: float, duration: float, poses: bool, stamps) -> None:
    """The sender: stamps of what was published after the warm-up go into the queue `stamps`."""
    import rclpy
    from geometry_msgs.msg import PoseWithCovarianceStamped
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Imu

    from pypose_ros import cdr, convert
    rclpy.init()
    node = rclpy.create_node('sender')
    imu = node.create_publisher(Imu, 'imu/data_raw', 1000)
    pose = node.create_publisher(PoseWithCovarianceStamped, 'pose', 10)
    write, values = cdr.ImuWriter('imu'), np.zeros(37)
    values[4], values[27] = -1.0, 9.80665
    while imu.get_subscription_count() < 2 or not pose.get_subscription_count():
        time.sleep(0.02)
    time.sleep(0.5)         # the readers must know the writer too
    gc.disable()
    sent, period, begin = [], 1 / rate, time.perf_counter()
    for k in range(round((WARM_UP + duration) * rate)):
        left = begin + k * period - time.perf_counter()
        if left > 0:
            time.sleep(left)
        stamp = time.time_ns()
        imu.publish(write(stamp, values))
        if k >= WARM_UP * rate:
            sent.append(stamp)
        if poses and k % max(1, round(rate / 10)) == 0:
            pose.publish(serialize_message(convert.pose_with_covariance_to_msg(
                stamp, 'odom', [0, 0, 0, 0, 0, 0, 1], np.eye(6) * 1e-4)))
    stamps.put(sent)
    time.sleep(1.0)
    node.destroy_node()
    rclpy.shutdown()


def receive(nodes: Sequence[subprocess.Popen], rate: float, duration: float, poses: bool,
            topic: str = 'odometry/imu') -> Run:
    """Run the sender against the nodes' processes and take the times of a topic of odometry."""
    import rclpy
    from nav_msgs.msg import Odometry
    from rclpy.experimental.events_executor import EventsExecutor
    from rclpy.task import Future
    from sensor_msgs.msg import Imu

    from pypose_ros import qos
    context = rclpy.Context()
    context.init()
    listener = rclpy.create_node('receiver', context=context)
    outputs, direct = [], []
    for kind, name, kept in ((Odometry, topic, outputs), (Imu, 'imu/data_raw', direct)):
        listener.create_subscription(
            kind, name, lambda data, kept=kept: kept.append((time.time_ns(), data[4:12])), qos.SENSOR(5000), raw=True)
    executor = EventsExecutor(context=context)
    executor.add_node(listener)
    processes = multiprocessing.get_context('spawn')
    queue = processes.Queue()
    sender = processes.Process(target=send, args=(rate, duration, poses, queue))
    gc.disable()
    sender.start()
    cpu, sent = None, None
    end = time.monotonic() + WARM_UP + duration + 60
    while sent is None and time.monotonic() < end:
        executor.spin_until_future_complete(Future(), timeout_sec=0.25)
        if cpu is None and len(direct) >= WARM_UP * rate:
            cpu, since, account = sum(cpu_seconds(node.pid) for node in nodes), time.perf_counter(), CpuAccount()
        if not queue.empty():
            sent = queue.get()
            cpu, span = sum(cpu_seconds(node.pid) for node in nodes) - cpu, time.perf_counter() - since
            withheld = account.withheld()
    executor.spin_until_future_complete(Future(), timeout_sec=0.5)
    sender.join()
    gc.enable()
    executor.shutdown()
    listener.destroy_node()
    context.try_shutdown()
    through, hop = (latencies(kept, sent) for kept in (outputs, direct))
    if not through:
        raise RuntimeError(f'nothing came on {topic}; the log:\n{Path(nodes[0].log).read_text()}')
    p50, p99 = np.percentile(list(through.values()), (50, 99))
    return Run(p50, p99, np.percentile(list(hop.values()), 99), len(sent) - len(through), len(sent), cpu / span,
               withheld, through)


def latencies(kept: list[tuple[int, bytes]], sent: list[int]) -> dict[int, float]:
    """Seconds from stamp to arrival of those in `sent`, by stamp."""
    wanted = set(sent)
    arrivals = {}
    for arrival, raw in kept:
        stamp = int.from_bytes(raw[:4], 'little') * 10 ** 9 + int.from_bytes(raw[4:], 'little')
        if stamp in wanted:
            arrivals.setdefault(stamp, arrival)
    return {stamp: (arrival - stamp) * 1e-9 for stamp, arrival in arrivals.items()}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (Linux)."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@contextmanager
def started(commands: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen]]:
    """Node processes with one log, ended at the end."""
    with tempfile.NamedTemporaryFile('w', suffix='.log') as log:
        nodes = []
        try:
            for command in commands:
                nodes.append(subprocess.Popen(command, stderr=log, stdout=log))
                nodes[-1].log = log.name
            yield nodes
        finally:
            for node in nodes:
                node.terminate()
            for node in nodes:
                node.wait(20)


def parameters(options: dict[str, str], prefix: str = '') -> list[str]:
    """ROS arguments that set them."""
    return [word for name, value in options.items() for word in ('-p', f'{prefix}{name}:={value}')]


def measure(rate: float, duration: float, *, executor: str = 'events', poses: bool = True) -> Run:
    """Start a node, measure, stop it."""
    with started([[sys.executable, '-c', 'from pypose_ros.nodes.imu_preintegration import main; main()', '--ros-args',
                   *parameters(OPTIONS | {'executor': executor})]]) as nodes:
        return receive(nodes, rate, duration, poses)


def describe(run: Run) -> str:
    return (f'p50 {1e3 * run.p50:.2f} ms, p99 {1e3 * run.p99:.2f} ms (the direct hop alone '
            f'{1e3 * run.hop_p99:.2f}), CPU {100 * run.cpu:.0f} %, lost {run.lost} of {run.sent}, '
            f'{100 * run.withheld:.1f} % of the machine withheld by its host')


def against(case: str, peer: str, ours: dict, theirs: dict, rate: float, duration: float,
            rounds: int) -> Record:
    """p99 of two configurations in turn; they agree where no sample was lost by either."""
    pairs = [(measure(rate, duration, **ours), measure(rate, duration, **theirs)) for _ in range(rounds)]
    a, b = (sorted((pair[k] for pair in pairs), key=lambda run: run.p99)[len(pairs) // 2] for k in (0, 1))
    return Record(case, peer, a.p99, b.p99, median(y.p99 / x.p99 for x, y in pairs),
                  not sum(run.lost for pair in pairs for run in pair), None,
                  f'p99 from publishing to output{priority()}. ours: {describe(a)}. peer: {describe(b)}')


def priority() -> str:
    """Whether this ran as on a machine of its own: real-time priority keeps other work off."""
    return '' if os.sched_getscheduler(0) == os.SCHED_OTHER else ', at real-time priority on a shared machine'


def callback() -> Record:
    """The whole IMU callback but for the estimator, against the same with rclpy's own messages."""
    from nav_msgs.msg import Odometry
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import Imu
    from tf2_msgs.msg import TFMessage

    from pypose_ros import cdr, convert
    values, pose, eye, zero = np.zeros(37), np.array([0, 0, 0, 0, 0, 0, 1.0]), np.eye(6), np.zeros(3)
    data = cdr.ImuWriter('imu_link')(10 ** 18, values)
    read = cdr.Reader(Imu)
    odometry, transform = cdr.OdometryWriter('odom', 'base_link'), cdr.TransformWriter('odom', 'base_link')
    sample = np.zeros(6)

    def ours():
        message = read(data)
        sample[:3], sample[3:] = message.values[cdr.IMU_GYROSCOPE], message.values[cdr.IMU_ACCELEROMETER]
        return odometry(message.stamp_ns, pose, eye, zero, zero, eye), transform(message.stamp_ns, pose)

    def theirs():
        stamp, _, sample, _ = convert.imu_from_msg(deserialize_message(data, Imu))
        return (serialize_message(convert.odometry_to_msg(
                    stamp, 'odom', 'base_link', pose, eye, np.zeros(6), eye)),
                serialize_message(TFMessage(transforms=[
                    convert.transform_to_msg(stamp, 'odom', 'base_link', pose)])))

    def same(a, b):
        return all(deserialize_message(x, kind) == deserialize_message(y, kind)
                   for x, y, kind in zip(a, b, (Odometry, TFMessage)))

    agree = same(ours(), theirs())
    pairs = [(seconds(ours, 5000), seconds(theirs, 300)) for _ in range(7)]
    return Record('read an Imu, write Odometry and TF (serialized bytes in and out)', 'rclpy messages',
                  median(a for a, _ in pairs), median(b for _, b in pairs), median(b / a for a, b in pairs),
                  agree, None, 'the messages are equal')


def records(quick: bool) -> Iterator[Record]:
    environment()
    yield callback()
    duration, rounds = (4.0, 1) if quick else (8.0, 3)
    for rate in (200, 1000):
        yield against(f'{rate} Hz, a solve each 0.1 s, events executor', 'single-threaded executor',
                      {'executor': 'events'}, {'executor': 'single'}, rate, duration, rounds)
        yield against(f'{rate} Hz, events executor, a solve each 0.1 s', 'the same with a solve each second',
                      {'poses': True}, {'poses': False}, rate, duration, rounds)


if __name__ == '__main__':
    main(records, __doc__)
