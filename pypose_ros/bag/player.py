"""A process that plays a prepared bag into DDS on time: `python -m pypose_ros.bag.player BAG SENT.npz RATE`.

It publishes serialized messages at their recorded times, /clock beside them, and keeps the time at which each
IMU sample was handed to the middleware. On stdout it says `ready`, waits for a line on stdin, and then
says every half second how far it is, in seconds of the recording.
"""
import gc
import importlib
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from .reader import BagReader
from .recording import IMU

CLOCK_INTERVAL_NS = 10_000_000
MATCH_TIMEOUT = 30.0        # s for every topic to find its subscriber
SPIN = 200e-6               # s before a message is due from which on we poll: sleeping is not that exact


def message_class(msgtype: str) -> type:
    """The rclpy class of `package/msg/Name`."""
    package, kind, name = msgtype.split('/')
    return getattr(importlib.import_module(f'{package}.{kind}'), name)


def play(bag_path: Path, sent_path: Path, rate: float) -> int:
    """Play the bag; returns the exit code."""
    with BagReader(bag_path) as bag:
        topics = {topic.name: topic.msgtype for topic in bag.topics}
        messages = [(m.topic, m.log_ns, bytes(m.raw), bag.stamp_ns(m)) for m in bag.messages()]
    rclpy.init()
    node = rclpy.create_node('player')
    reliable = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
    publishers = {name: node.create_publisher(message_class(kind), name, reliable)
                  for name, kind in topics.items()}
    clock = node.create_publisher(Clock, '/clock', QoSProfile(
        depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE))
    deadline = time.monotonic() + MATCH_TIMEOUT
    while missing := [n for n, p in publishers.items() if p.get_subscription_count() == 0]:
        if time.monotonic() > deadline:
            print(f'nobody subscribes to {", ".join(missing)}', file=sys.stderr)
            return 1
        time.sleep(0.02)
    print('ready', flush=True)
    sys.stdin.readline()

    imu = {name for name, kind in topics.items() if kind == IMU}
    sent = np.zeros((sum(topic in imu for topic, *_ in messages), 2), np.int64)
    count, said = 0, time.perf_counter()
    clock_ns: int | None = None
    now = Clock()
    gc.collect()
    gc.disable()        # a collection would be a late message
    first, start = messages[0][1], time.perf_counter()
    for topic, log_ns, raw, stamp_ns in messages:
        due = start + (log_ns - first) * 1e-9 / rate
        while (wait := due - time.perf_counter()) > 0:
            if wait > SPIN:
                time.sleep(wait - SPIN)
        if clock_ns is None or log_ns - clock_ns >= CLOCK_INTERVAL_NS:
            clock_ns = log_ns
            now.clock.sec, now.clock.nanosec = divmod(log_ns, 10 ** 9)
            clock.publish(now)
        if topic in imu and stamp_ns is not None:
            sent[count] = stamp_ns, time.time_ns()
            count += 1
        publishers[topic].publish(raw)
        if time.perf_counter() - said > 0.5:
            said = time.perf_counter()
            print(f'{(log_ns - first) * 1e-9:.3f}', flush=True)
    print(f'{(messages[-1][1] - first) * 1e-9:.3f}', flush=True)
    for publisher in publishers.values():
        publisher.wait_for_all_acked(Duration(seconds=5))
    np.save(sent_path, sent)
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(play(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
