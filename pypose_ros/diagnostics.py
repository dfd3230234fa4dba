"""/diagnostics once a second: rates, latency, drops by reason, and what the node says of itself."""
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from pypose_ros import qos

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
WARNING_PERIOD = 5.0        # s between two log lines about the same reason


def log(logger, severity: str, sentence: str) -> None:
    """To a node's log as info, warning or error: a line each, since rclpy refuses another severity from one line."""
    if severity == 'error':
        logger.error(sentence)
    elif severity == 'warning':
        logger.warning(sentence)
    else:
        logger.info(sentence)


@dataclass
class Status:
    """What a node says of itself: the worst level and its sentence, and further facts."""
    level: bytes = OK
    message: str = 'running'
    values: dict[str, object] = field(default_factory=dict)

    def worsen(self, level: bytes, message: str) -> None:
        """Raise the level; sentences of the same level are joined."""
        if level > self.level:
            self.level, self.message = level, message
        elif level == self.level and level != OK:
            self.message += '; ' + message


class Rate:
    """Events per second since the last look."""

    def __init__(self):
        self.count = 0
        self._seen, self._since = 0, time.monotonic()

    def tick(self) -> None:
        self.count += 1

    def take(self) -> float:
        """Rate since the previous call."""
        now = time.monotonic()
        elapsed, self._since = now - self._since, now
        events, self._seen = self.count - self._seen, self.count
        return events / elapsed if elapsed > 0 else 0.0


class Latency:
    """The last `capacity` durations, for percentiles."""

    def __init__(self, capacity: int = 2000):
        self._values = np.zeros(capacity)
        self.count = 0

    def add(self, seconds: float) -> None:
        self._values[self.count % len(self._values)] = seconds
        self.count += 1

    def percentiles(self, *percents: float) -> tuple[float, ...]:
        """Seconds; zeros where nothing was measured."""
        recent = self._values[:self.count]
        return tuple(np.percentile(recent, percents)) if len(recent) else (0.0,) * len(percents)


class Diagnostics:
    """Meters that the node's callbacks feed, and their publication.

    Args:
        node: the node, for its name, clock and log.
        advertise: makes a publisher from (type, topic, profile).
        status: asked once a second for the node's own Status.
    """

    def __init__(self, node, *, advertise: Callable, status: Callable[[], Status]):
        self._node, self._status = node, status
        # Absolute, as diagnostic_updater has it: one aggregator serves all robots' namespaces.
        self._publisher = advertise(DiagnosticArray, '/diagnostics', qos.STANDARD)
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._warned: dict[str, float] = {}
        self.rates: dict[str, Rate] = {}
        self.latencies: dict[str, Latency] = {}
        self.drops: Counter[str] = Counter()

    def rate(self, name: str) -> Rate:
        return self.rates.setdefault(name, Rate())

    def latency(self, name: str) -> Latency:
        return self.latencies.setdefault(name, Latency())

    def drop(self, reason: str, sentence: str, count: int = 1) -> None:
        """Count something refused or lost and say so, at most once in WARNING_PERIOD per reason."""
        self.drops[reason] += count
        self.warn(reason, f'{sentence} ({self.drops[reason]} so far)')

    def warn(self, key: str, sentence: str) -> None:
        """Log a warning, at most once in WARNING_PERIOD per key."""
        now = time.monotonic()
        if now - self._warned.get(key, -WARNING_PERIOD) >= WARNING_PERIOD:
            self._warned[key] = now
            self._node.get_logger().warning(sentence)

    def publish(self) -> None:
        """Send one DiagnosticArray."""
        status = self._status()
        values = dict(status.values)
        for name, rate in self.rates.items():
            values[f'rate {name} [Hz]'] = f'{rate.take():.1f}'
            values[f'count {name}'] = rate.count
        for name, latency in self.latencies.items():
            p50, p99 = latency.percentiles(50, 99)
            values[f'latency {name} p50 [ms]'] = f'{1e3 * p50:.3f}'
            values[f'latency {name} p99 [ms]'] = f'{1e3 * p99:.3f}'
        for reason, count in sorted(self.drops.items()):
            values[f'dropped: {reason}'] = count
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [DiagnosticStatus(
            level=status.level, name=self._name, message=status.message, hardware_id=self._name,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])]
        self._publisher.publish(message)
