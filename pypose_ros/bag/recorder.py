"""A process that records what the node publishes: `python -m pypose_ros.bag.recorder OUT.mcap ARRIVALS.npy`.

Messages stay serialized in memory until a line on stdin (or its end) says to stop; then they are
written. ARRIVALS.npy holds, for each odometry message, its stamp, when its publisher handed it to the
middleware and when it arrived here. On stdout it says `ready` once the node's odometry is found.
"""
import gc
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import QoSProfile, ReliabilityPolicy

from .player import message_class
from .recorder_topics import ODOMETRY_TOPIC, TYPES
from .writer import BagWriter


def record(bag_path: Path, arrivals_path: Path) -> int:
    """Record until told to stop; returns the exit code."""
    rclpy.init()
    node = rclpy.create_node('recorder')
    profile = QoSProfile(depth=5000, reliability=ReliabilityPolicy.RELIABLE)
    subscriptions = []
    for name, msgtype in TYPES.items():
        kind = message_class(msgtype)
        subscriptions.append((name, kind, node.create_subscription(
            kind, name, lambda message: None, profile, raw=True)))
    taken: list[tuple[str, bytes, int, int]] = []
    stop = threading.Event()

    def take() -> None:
        # rclpy's executors either cost more than the node under test or cannot hand out the
        # times of publication with a raw message; its wait set can do both.
        waits = rclpy_implementation.WaitSet(len(subscriptions), 0, 0, 0, 0, 0, node.context.handle)
        while not stop.is_set():
            waits.clear_entities()
            for _, _, subscription in subscriptions:
                waits.add_subscription(subscription.handle)
            waits.wait(200_000_000)
            for name, kind, subscription in subscriptions:
                while (message := subscription.handle.take_message(kind, True)) is not None:
                    raw, info = message
                    taken.append((name, raw, info['source_timestamp'], time.time_ns()))

    gc.disable()
    thread = threading.Thread(target=take)
    thread.start()
    while node.count_publishers(ODOMETRY_TOPIC) == 0:
        time.sleep(0.02)
    print('ready', flush=True)
    sys.stdin.readline()
    stop.set()
    thread.join()
    node.destroy_node()
    rclpy.shutdown()

    with BagWriter(bag_path) as bag:
        for name, raw, _, received in taken:
            bag.write_raw(name, TYPES[name], received, raw)
    rows = [(_stamp_ns(raw), source, received) for name, raw, source, received in taken if name == ODOMETRY_TOPIC]
    np.save(arrivals_path, np.array(rows, np.int64).reshape(-1, 3))
    return 0


def _stamp_ns(raw: bytes) -> int:
    """Of a serialized message that begins with a header (little endian, as we publish)."""
    return int.from_bytes(raw[4:8], 'little', signed=True) * 10 ** 9 + int.from_bytes(raw[8:12], 'little')


if __name__ == '__main__':
    sys.exit(record(Path(sys.argv[1]), Path(sys.argv[2])))
