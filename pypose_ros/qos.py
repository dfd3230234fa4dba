"""The quality-of-service profiles of every endpoint: subscribe best effort, publish reliable.

A best-effort subscription hears every publisher and a reliable publisher reaches every subscription,
so that nodes of other projects match ours whichever they chose.
"""
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                      reliability=reliability, durability=durability)


STANDARD = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)
"""Publishers of streams."""

LATCHED = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1)
"""The last message also reaches who subscribes later."""

EVENTS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 100)
"""What is rare and must not be lost: loop closures and what became of them."""

TF = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 100)
"""/tf, as tf2_ros publishes it."""

TF_STATIC = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 100)
"""/tf_static: every static broadcaster's one latched message has room in a listener's queue."""


def SENSOR(depth: int) -> QoSProfile:
    """Subscriptions; `depth` messages survive a pause of the process."""
    return _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, depth)
