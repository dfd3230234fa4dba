"""Plays any bag into the middleware, where there is no `ros2 bag`: for trying nodes on recordings."""
import gc
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from pypose_ros import qos

from .errors import BagError
from .player import CLOCK_INTERVAL_NS, message_class
from .reader import BagReader

SETTLE = 0.3        # s after discovery: the readers must know the writers too
_LATCHED = ('/tf_static', '/robot_description', '/map')


def play_bag(path: str | Path, *, rate: float = 1.0, remap: Mapping[str, str] | None = None,
             topics: Collection[str] | None = None, wait_for: Collection[str] = (), timeout: float = 30.0,
             progress: Callable[[float, float], None] = lambda seconds, total: None) -> dict[str, int]:
    """Publish a bag's messages at their recorded times, /clock (best effort) beside them.

    Args:
        rate: speed; the clock runs with it.
        remap: other names for topics.
        topics: only these (names in the bag).
        wait_for: topics (names as played) that must have a subscriber before it begins.
        timeout: s to wait for them.
        progress: called about twice a second with seconds played and in all.

    Returns:
        How many messages of each topic (names as played) were sent; types that are not installed are left out.

    Raises:
        BagError: the bag is no good, or nobody subscribes.
    """
    remap = remap or {}
    with BagReader(path) as bag:
        kinds = {topic.name: topic.msgtype for topic in bag.topics if topics is None or topic.name in topics}
        classes = {name: found for name, kind in kinds.items() if (found := _installed(kind)) is not None}
        if not classes:
            raise BagError(f'{path}: none of its topics can be played: {", ".join(kinds) or "there are none"}')
        messages = [(message.topic, message.log_ns, bag.cdr(message)) for message in bag.messages(set(classes))]
    if not messages:
        raise BagError(f'{path}: there are no messages to play')
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('bag_player', context=context)
    try:
        names = {name: remap.get(name, name) for name in classes}
        publishers = {name: node.create_publisher(kind, names[name], qos.TF_STATIC if name in _LATCHED else 100)
                      for name, kind in classes.items()}
        clock = node.create_publisher(Clock, '/clock', qos.SENSOR(1))
        _await([publishers[name] for name in names if names[name] in wait_for], wait_for, timeout)
        return {names[name]: count for name, count in _play(publishers, clock, messages, rate, progress).items()}
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def _installed(msgtype: str) -> type | None:
    try:
        return message_class(msgtype)
    except (ImportError, AttributeError):
        return None


def _await(publishers, wanted: Collection[str], timeout: float) -> None:
    if len(publishers) < len(wanted):
        raise BagError(f'not all of {", ".join(wanted)} are played')
    deadline = time.monotonic() + timeout
    while not all(publisher.get_subscription_count() for publisher in publishers):
        if time.monotonic() > deadline:
            raise BagError(f'not all of {", ".join(wanted)} have a subscriber')
        time.sleep(0.02)
    time.sleep(SETTLE)


def _play(publishers, clock, messages, rate: float, progress) -> dict[str, int]:
    counts = dict.fromkeys(publishers, 0)
    first, last = messages[0][1], messages[-1][1]
    now, clock_ns, said = Clock(), None, 0.0
    gc.collect()
    gc.disable()        # a collection would be a late message
    try:
        start = time.perf_counter()
        for topic, log_ns, data in messages:
            wait = start + (log_ns - first) * 1e-9 / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            if clock_ns is None or log_ns - clock_ns >= CLOCK_INTERVAL_NS:
                clock_ns = log_ns
                now.clock.sec, now.clock.nanosec = divmod(log_ns, 10 ** 9)
                clock.publish(now)
            publishers[topic].publish(data)
            counts[topic] += 1
            if time.perf_counter() - said > 0.5:
                said = time.perf_counter()
                progress((log_ns - first) * 1e-9, (last - first) * 1e-9)
    finally:
        gc.enable()
    time.sleep(SETTLE)      # what is still on its way
    return counts
