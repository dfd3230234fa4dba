"""The imu_preintegration node and a peer that feeds and hears it, in a DDS network of their own.

Node and peer are two DDS participants in two contexts. The peer sends recordings as fast as the node takes
them: stamps are the recording's, so nothing here waits for time to pass.
"""
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from pypose_ros import cdr, convert, qos

T0 = 1_700_000_000_000_000_000
PERIOD = 5_000_000                      # ns: an IMU of 200 Hz
G = 9.80665
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
RADIUS, SPEED = 2.0, 1.0                # of the circle that the robot drives
_domains = itertools.cycle([1 + (os.getpid() + k) % 100 for k in range(100)])


@contextlib.contextmanager
def reserved_domain():
    """A ROS_DOMAIN_ID that no other test process uses, nor this one lately.

    Reserved as ROS's domain_coordinator does it: whoever holds the TCP port 32768 + id.
    """
    for domain in itertools.islice(_domains, 100):
        with socket.socket() as reservation:
            try:
                reservation.bind(('', 32768 + domain))
            except OSError:
                continue
            yield domain
            return
    pytest.fail('no ROS_DOMAIN_ID is free')


@dataclass(frozen=True)
class Sample:
    """One IMU measurement as it goes on the wire."""
    stamp_ns: int
    gyro: tuple[float, ...] = (0.0, 0.0, 0.0)
    accel: tuple[float, ...] = (0.0, 0.0, G)
    frame: str = 'imu_link'

    def serialized(self, **changes) -> bytes:
        """`changes`: slices or indices of the 37 numbers (as keys `at_<start>`) to other values."""
        values = np.zeros(37)
        values[4] = -1.0                                        # no orientation
        values[3] = 1.0
        values[cdr.IMU_GYROSCOPE], values[cdr.IMU_ACCELEROMETER] = self.gyro, self.accel
        for key, value in changes.items():
            values[int(key.removeprefix('at_'))] = value
        return cdr.ImuWriter(self.frame)(self.stamp_ns, values)


def standing(begin_ns: int, seconds: float, **kwargs) -> list[Sample]:
    """An IMU at rest and level."""
    return [Sample(begin_ns + k * PERIOD, **kwargs) for k in range(round(seconds * 1e9 / PERIOD))]


def circling(begin_ns: int, seconds: float) -> list[Sample]:
    """A robot that drives in a circle to the left at constant speed, its x axis ahead."""
    gyro, accel = (0.0, 0.0, SPEED / RADIUS), (0.0, SPEED ** 2 / RADIUS, G)
    return [Sample(begin_ns + k * PERIOD, gyro, accel) for k in range(round(seconds * 1e9 / PERIOD))]


def circle_pose(begin_ns: int, stamp_ns: int) -> np.ndarray:
    """T_odom_base (7,) of `circling`, which begins at the origin, heading along x."""
    angle = SPEED / RADIUS * (stamp_ns - begin_ns) * 1e-9
    return np.array([RADIUS * np.sin(angle), RADIUS * (1 - np.cos(angle)), 0.0,
                     0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])


COVARIANCE = np.diag([1e-4] * 3 + [1e-5] * 3)


def pose_message(stamp_ns: int, pose=IDENTITY, covariance: np.ndarray = COVARIANCE,
                 frame: str = 'odom') -> bytes:
    return serialize_message(convert.pose_with_covariance_to_msg(stamp_ns, frame, pose, covariance))


def odometry_message(stamp_ns: int, pose=IDENTITY,
                     covariance: np.ndarray = COVARIANCE, child: str = 'base_link') -> bytes:
    return serialize_message(convert.odometry_to_msg(
        stamp_ns, 'lidar_odom', child, pose, covariance, np.zeros(6), np.zeros((6, 6))))


class Peer:
    """The rest of the robot: sends sensors' messages, keeps what it hears of the node.

    Args:
        domain: ROS_DOMAIN_ID.
    """

    def __init__(self, domain: int):
        self.context = rclpy.Context()
        self.context.init(domain_id=domain)
        self.node = rclpy.create_node('peer', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.odometry: list[cdr.Received] = []
        self.transforms: list = []
        self.diagnostics: list = []
        read = cdr.Reader(Odometry)
        hear, send = self.node.create_subscription, self.node.create_publisher
        hear(Odometry, 'odometry/imu', lambda data: self.odometry.append(read(data)), qos.SENSOR(5000),
             raw=True)
        hear(TFMessage, '/tf', lambda message: self.transforms.extend(message.transforms), qos.SENSOR(5000))
        hear(DiagnosticArray, '/diagnostics', lambda message: self.diagnostics.extend(message.status), 10)
        self.imu = send(Imu, 'imu/data_raw', 1000)
        self.pose = send(PoseWithCovarianceStamped, 'pose', 1000)
        self.odom = send(Odometry, 'odometry', 1000)
        self.static = send(TFMessage, '/tf_static', qos.LATCHED)

    def spin(self, seconds: float = 0.0) -> None:
        """Take what has arrived, and what arrives within `seconds`."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            self._executor.spin_once(timeout_sec=max(0.0, min(left, 0.02)))
            if left <= 0:
                return

    def until(self, condition: Callable[[], object], what: str, cap: float = 15.0) -> None:
        """Spin until `condition()`; the test fails where it does not come true."""
        end = time.monotonic() + cap
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f'not within {cap} s: {what}')
            self.spin(0.005)

    def matched(self) -> None:
        """Wait until the node hears us and we hear the node."""
        topics = ('odometry/imu', '/tf', '/diagnostics')
        inputs = (self.imu, self.pose, self.odom)
        self.until(lambda: all(p.get_subscription_count() for p in inputs)
                   and all(self.node.count_publishers(t) for t in topics), 'node and peer find each other')

    def call(self, kind: type, name: str, request, cap: float = 15.0):
        """The response of one of the node's services."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f'service {name}')
        future = client.call_async(request)
        self.until(future.done, f'answer of {name}', cap)
        self.node.destroy_client(client)
        return future.result()

    def status(self) -> dict[str, str]:
        """The next diagnostics: level, message and values."""
        self.diagnostics.clear()
        self.until(lambda: self.diagnostics, 'diagnostics')
        status = self.diagnostics[-1]
        return {'level': status.level, 'message': status.message,
                **{pair.key: pair.value for pair in status.values}}

    def stamps(self) -> list[int]:
        """Of the odometry heard so far."""
        return [message.stamp_ns for message in self.odometry]

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


class Rig(Peer):
    """A Peer with the node running in this process, in a participant and a thread of its own."""

    def __init__(self, domain: int):
        super().__init__(domain)
        self._domain = domain
        self.under_test = None

    def start(self, *, activate: bool = True, cli: Iterable[str] = (), **params):
        """Start the node with parameters (`init.mode` is written init__mode) and wait for the matches."""
        from pypose_ros.nodes.imu_preintegration import ImuPreintegration
        from pypose_ros.run import Spinner
        params = {'extrinsic_imu_to_base': IDENTITY, **{k.replace('__', '.'): v for k, v in params.items()}}
        self.node_context = rclpy.Context()
        self.node_context.init(domain_id=self._domain)
        self.under_test = ImuPreintegration(
            context=self.node_context, cli_args=list(cli),
            parameter_overrides=[Parameter(k, value=v) for k, v in params.items() if v is not None])
        self._spinner = Spinner(self.under_test, self.under_test.get_parameter('executor').value)
        configured = self.under_test.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if configured and activate:
            self.under_test.trigger_activate()
        self._spinner.start()
        if self.under_test.state != 'unconfigured':
            self.matched()
            # The other direction too: a best-effort reader drops what comes before it knows the writer.
            inputs = ('imu/data_raw', 'pose', 'odometry')
            hears = [s for s in self.under_test.subscriptions if s.topic in inputs]
            self.until(lambda: all(s.get_publisher_count() for s in hears), 'the node hears the peer')
            self._state = self.node.create_client(GetState, 'imu_preintegration/get_state')
            self.until(self._state.service_is_ready, 'the service get_state')
        return self.under_test

    def taken(self, topic: str) -> int:
        """Messages of a topic that the node has received."""
        return self.under_test.diagnostics.rates[topic].count

    def send(self, topic: str, messages: Iterable[bytes]) -> None:
        """Send serialized messages on imu, pose or odometry; returns when the node has taken them all."""
        publisher = {'imu': self.imu, 'pose': self.pose, 'odometry': self.odom}[topic]
        before = count = self.taken(topic)
        for message in messages:
            publisher.publish(message)
            count += 1
            if (count - before) % 20 == 0:
                self._settled(topic, count)
        self._settled(topic, count)
        # Counted at the callback's begin; a service's answer tells that it has ended.
        future = self._state.call_async(GetState.Request())
        self.until(future.done, 'the node answers')

    def _settled(self, topic: str, count: int) -> None:
        self.until(lambda: self.taken(topic) >= count, f'the node takes message {count} on {topic}')

    def samples(self, samples: Iterable[Sample]) -> None:
        self.send('imu', (sample.serialized() for sample in samples))

    def solved(self) -> None:
        """Wait until no solve is under way."""
        estimator = self.under_test.estimator
        self.until(lambda: estimator._job is None or estimator._job.done, 'the solve ends')

    def drive(self, begin_ns: int, seconds: float, *, since_ns: int | None = None,
              topic: str = 'pose') -> None:
        """Drive the circle with a correction each 0.1 s. `since_ns`: where the circle began."""
        since_ns = begin_ns if since_ns is None else since_ns
        make = {'pose': pose_message, 'odometry': odometry_message}[topic]
        self.corrected(circling(begin_ns, seconds), topic,
                       lambda stamp_ns: make(stamp_ns, circle_pose(since_ns, stamp_ns)))

    def corrected(self, samples: list[Sample], topic: str, make: Callable[[int], bytes]) -> None:
        """Send samples, and at every twentieth the correction that `make(stamp_ns)` gives."""
        for k in range(0, len(samples), 20):
            self.samples(samples[k:k + 1])
            self.send(topic, [make(samples[k].stamp_ns)])
            self.solved()
            self.samples(samples[k + 1:k + 20])

    def heard(self) -> list[cdr.Received]:
        """The odometry, once all that the node published has arrived."""
        self.until(lambda: len(self.odometry) >= self.taken('output'), 'the output arrives')
        return self.odometry

    def close(self) -> None:
        if self.under_test is not None:
            self._spinner.stop()
            self.under_test.destroy_node()
            self.node_context.try_shutdown()
        super().close()
