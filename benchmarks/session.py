"""A long session through the running pose_graph node: every message of odometry a keyframe, at fifty times real time.

A sender publishes the odometry of a robot that drives round after round (10 Hz of its own time, sent at 500 Hz) and a
loop closure every ten seconds of that time; the node is a process of its own. Recorded: its memory over the session,
the duration of its callbacks and solves as its diagnostics tell them, and whether each message that was sent was taken
or told of. There is no peer; the first record's time is the 99th percentile of a callback, the second's of a solve.
"""
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness import Record, main
from imu_latency import environment, parameters, started

ROOT = Path(__file__).parents[1]
PERIOD_NS, SPEEDUP = 10 ** 8, 50
RADIUS, STEP, LAP = 50.0, 1.0, 314
SIGMA = (0.02, 0.001)       # m and rad of a step
LOOP_EVERY = 100            # steps
OPTIONS = {'keyframe.distance': '0.0', 'odometry_sigma': '[0.02, 0.001]', 'odometry_drift': '[0.0, 0.0]',
           'loop_sigma': '[0.05, 0.01]',
           # Four seconds of messages at this speed; at its own the default holds ten.
           'qos_overrides./odometry.subscription.depth': '2000'}
GREETING = 20               # messages that are sent slowly: before the node has heard of a source it misses nothing


def resident(pid: int) -> float:
    """MB of memory of a process."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def rounds(count: int) -> tuple[np.ndarray, np.ndarray]:
    """True and measured poses (count, 7) of a robot that drives in circles."""
    generator = np.random.default_rng(0)
    heading = np.arange(count) * STEP / RADIUS
    truth = np.zeros((count, 7))
    truth[:, :2] = RADIUS * np.stack([np.sin(heading), 1 - np.cos(heading)], 1)
    truth[:, 5:] = np.stack([np.sin(heading / 2), np.cos(heading / 2)], 1)
    turned = np.cumsum(np.append(0.0, STEP / RADIUS + SIGMA[1] * generator.standard_normal(count - 1)))
    along = STEP + SIGMA[0] * generator.standard_normal(count)
    measured = np.zeros((count, 7))
    steps = along[:, None] * np.stack([np.cos(turned + STEP / RADIUS / 2), np.sin(turned + STEP / RADIUS / 2)], 1)
    measured[1:, :2] = np.cumsum(steps, 0)[:-1]
    measured[:, 5:] = np.stack([np.sin(turned / 2), np.cos(turned / 2)], 1)
    return truth, measured


class Session:
    """The sender, and what the node says of itself.

    Args:
        node: its process.
    """

    def __init__(self, node):
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import Odometry
        from rclpy.executors import SingleThreadedExecutor

        from pypose_ros import qos
        from pypose_ros.msg import PoseGraphEdge
        self._node, self.facts, self.memory = node, {}, []
        self._context = rclpy.Context()
        self._context.init()
        self._sender = rclpy.create_node('sender', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._sender)
        self._odometry = self._sender.create_publisher(Odometry, 'odometry', 1000)
        self._edges = self._sender.create_publisher(PoseGraphEdge, 'loop_closure', qos.EVENTS)
        self._sender.create_subscription(DiagnosticArray, '/diagnostics', self._hear, 10)
        while not (self._odometry.get_subscription_count() and self._edges.get_subscription_count()):
            time.sleep(0.05)
        time.sleep(0.5)

    def _hear(self, message) -> None:
        facts = {pair.key: pair.value for pair in message.status[0].values}
        if 'count odometry' in facts:
            self.facts = facts

    def listen(self) -> None:
        self._executor.spin_once(timeout_sec=0.0)

    def _wait(self, condition) -> None:
        """Ask after each of the node's diagnostics."""
        end = time.monotonic() + 60
        while True:
            self.facts = {}
            while not self.facts:
                if time.monotonic() > end:
                    raise TimeoutError('the node says nothing, or not what is waited for')
                time.sleep(0.02)
                self.listen()
            if condition():
                return

    def run(self, count: int) -> None:
        """Send all of it and wait until no more is taken."""
        from pypose_core.online.correction import compose, inverse
        from pypose_ros import cdr, convert
        from pypose_ros.msg import PoseGraphEdge
        truth, measured = rounds(count)
        write, zero, none = cdr.OdometryWriter('odom', 'base_link'), np.zeros((6, 6)), np.zeros(3)
        begin = time.perf_counter()
        for k in range(count):
            if k == GREETING:
                self._wait(lambda: int(self.facts['count odometry']) == GREETING)
                begin = time.perf_counter() - k * PERIOD_NS * 1e-9 / SPEEDUP
            left = begin + k * PERIOD_NS * 1e-9 / SPEEDUP - time.perf_counter()
            if left > 0:
                time.sleep(left)
            self._odometry.publish(write((k + 1) * PERIOD_NS, measured[k], zero, none, none, zero))
            if k >= LAP and k % LOOP_EVERY == 0:
                edge = PoseGraphEdge(kind=PoseGraphEdge.KIND_LOOP, by_stamp=True, source='rounds')
                edge.transform = convert.pose_to_msg(compose(inverse(truth[k - LAP]), truth[k]))
                edge.from_stamp, edge.to_stamp = (convert.stamp_to_msg((i + 1) * PERIOD_NS) for i in (k - LAP, k))
                self._edges.publish(edge)
            if k % max(1, count // 50) == 0:
                self.memory.append((k, resident(self._node.pid)))
                self.listen()
        self.wall = time.perf_counter() - begin
        taken = []

        def done() -> bool:
            taken.append(self.facts['count odometry'])
            return len(taken) > 3 and taken[-1] == taken[-4]

        self._wait(done)
        self.memory.append((count, resident(self._node.pid)))

    def close(self) -> None:
        self._executor.shutdown()
        self._sender.destroy_node()
        self._context.try_shutdown()


def records(quick: bool) -> Iterator[Record]:
    from pypose_ros.children import reserved_domain
    count = 10_000 if quick else 100_000
    command = [sys.executable, str(ROOT / 'scripts' / 'pose_graph'), '--ros-args', *parameters(OPTIONS)]
    with reserved_domain() as domain:
        os.environ['ROS_DOMAIN_ID'] = str(domain)
        environment()
        yield from measured(command, count)


def measured(command: list[str], count: int) -> Iterator[Record]:
    with started([command]) as (node,):
        session = Session(node)
        try:
            session.run(count)
        finally:
            session.close()
    facts, memory = session.facts, np.array(session.memory[5:])
    taken, keyframes = int(facts['count odometry']), int(facts['keyframes'])
    told = sum(int(value) for name, value in facts.items() if name.startswith('dropped: odometry'))
    slope, base = np.polyfit(*memory.T, 1)
    off = np.abs(memory[:, 1] - (base + slope * memory[:, 0])).max()
    linear = off < 0.15 * (memory[-1, 1] - memory[0, 1]) + 30.0
    whole = count == keyframes + told
    case = f'{count} poses at {SPEEDUP} times real time, {(count - LAP) // LOOP_EVERY} loops'
    note = (f'{taken} of {count} messages taken in {session.wall:.0f} s, {keyframes} keyframes, {told} told of as lost '
            f'or refused; memory {memory[0, 1]:.0f} to {memory[-1, 1]:.0f} MB, {1e3 * slope:.2f} kB a message, at most '
            f'{off:.0f} MB off a straight line; agree: memory is linear, and what was sent is a keyframe or told of')
    for name, what in (('callback', 'odometry'), ('solve', 'a solve')):
        p50, p99 = (float(facts[f'latency {name} p{n} [ms]']) * 1e-3 for n in (50, 99))
        yield Record(f'{case}: {what}', 'none', p99, None, None, bool(linear and whole), None,
                     f'p50 {1e3 * p50:.2f}, p99 {1e3 * p99:.2f} ms of the last 2000; {note}')


if __name__ == '__main__':
    main(records, __doc__)
